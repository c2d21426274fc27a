//! The answer to a query, as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc::Receiver;
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;

use super::guard::OverWhenDropped;
use crate::error::Error;

/// A query that has begun.
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows. Dropping it ends the query.
    pub stream: AnswerStream,
}

impl Answer {
    /// Reads it to its end. The text, if any, says why rows are missing.
    pub async fn collect(mut self) -> Result<(Vec<RecordBatch>, Option<String>), Error> {
        let mut batches = Vec::new();
        while let Some(batch) = self.stream.next().await {
            batches.push(batch?);
        }
        Ok((batches, self.stream.incomplete().map(str::to_owned)))
    }
}

/// The rows of an answer. Ends after the first error.
pub struct AnswerStream {
    batches: Receiver<Result<RecordBatch, Error>>,
    /// Ends the query when dropped.
    task: Option<(AbortOnDropHandle<()>, OverWhenDropped)>,
    /// A query that does not look at its deadline is left behind here.
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
    rows_left: u64,
    bytes_left: u64,
    rows_max: u64,
    bytes_max: u64,
    incomplete: Option<String>,
}

impl AnswerStream {
    pub(super) fn new(
        batches: Receiver<Result<RecordBatch, Error>>,
        task: (AbortOnDropHandle<()>, OverWhenDropped),
        deadline: tokio::time::Instant,
        limits: &super::Limits,
    ) -> AnswerStream {
        AnswerStream {
            batches,
            task: Some(task),
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
            timeout: limits.timeout,
            rows_left: limits.rows_max,
            bytes_left: limits.bytes_max,
            rows_max: limits.rows_max,
            bytes_max: limits.bytes_max,
            incomplete: None,
        }
    }

    /// After the end: why rows are missing, if they are.
    pub fn incomplete(&self) -> Option<&str> {
        self.incomplete.as_deref()
    }

    fn end(&mut self) {
        self.batches.close();
        self.task = None;
    }

    /// As much of `batch` as the limits leave.
    fn limited(&mut self, batch: RecordBatch) -> Option<RecordBatch> {
        let rows = batch.num_rows() as u64;
        // Slices share memory: what is counted is what the slice itself holds.
        let bytes = batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or_default() as u64);
        let bytes: u64 = bytes.sum();
        if rows > self.rows_left {
            self.incomplete = Some(format!("only the first {} rows: an answer may have no more", self.rows_max));
            let left = usize::try_from(self.rows_left).unwrap_or(usize::MAX);
            self.end();
            return (left > 0).then(|| batch.slice(0, left));
        }
        if bytes > self.bytes_left {
            self.incomplete =
                Some(format!("only the first rows: an answer may have no more than {} bytes", self.bytes_max));
            self.end();
            return None;
        }
        self.rows_left -= rows;
        self.bytes_left -= bytes;
        Some(batch)
    }
}

impl Stream for AnswerStream {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.task.is_none() {
            return Poll::Ready(None);
        }
        match self.batches.poll_recv(cx) {
            Poll::Ready(Some(Ok(batch))) => Poll::Ready(self.limited(batch).map(Ok)),
            Poll::Ready(Some(Err(error))) => {
                self.end();
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending if self.deadline.as_mut().poll(cx).is_ready() => {
                let timeout = self.timeout;
                self.end();
                Poll::Ready(Some(Err(Error::Timeout { timeout })))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
