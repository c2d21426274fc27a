//! The queue in front of the committer. Its bound is admission's: every job holds a permit.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::Job;

/// The queue takes no more jobs.
#[derive(Debug)]
pub(crate) struct Closed;

/// Jobs in the order of their arrival.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    /// Adds a job; an error, and the job is gone, when the queue is closed.
    pub(crate) fn push(&self, job: Job) -> Result<(), Closed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for jobs and takes those that fit into `max_bytes`, at least one.
    /// `None` when the queue is closed and empty.
    pub(crate) fn take(&self, max_bytes: usize) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            self.arrived.wait(&mut state);
        }
        let mut bytes = 0_usize;
        let mut count = 0;
        for job in &state.jobs {
            bytes = bytes.saturating_add(job.plain.len());
            if count > 0 && bytes > max_bytes {
                break;
            }
            count += 1;
        }
        Some(state.jobs.drain(..count).collect())
    }

    /// Lets nothing more in. What is inside is still taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_all();
    }
}
