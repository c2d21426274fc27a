//! What operators do and what happens to them: wrong flags, folders that are not as they should
//! be, restarts under the demo, clocks that jump.

mod clock;
mod demo;
mod flags;
mod folder;
mod readers;
