//! Progress of long work, on standard error, and only if that is a terminal.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar, or nothing where nobody watches.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for work of unknown size, until [`Progress::set`] tells it.
    pub(crate) fn start(what: &'static str) -> Progress {
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress { bar }
    }

    /// How much of the work is done, and what it is at.
    pub(crate) fn set(&self, done: u64, total: u64, at: impl Into<Cow<'static, str>>) {
        if total > 0 && self.bar.length() != Some(total) {
            let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {wide_msg} {eta}");
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌ "));
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        self.bar.set_message(at);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
