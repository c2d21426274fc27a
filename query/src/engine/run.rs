//! Plans and runs one query on the query threads, and hands its batches over.
//!
//! The task sends its outcome last: that there is no such message means that it
//! panicked or was ended from outside.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::guard::{Over, guarded};
use super::{Answer, AnswerStream, Engine, Session};
use crate::error::Error;
use crate::sql::params::Params;
use crate::sql::{rewrite, statement};

/// Batches that wait to be read. The query rests while so many wait.
const BATCHES_WAITING: usize = 2;
/// How much later than the query itself the reader looks at the deadline.
const GRACE: Duration = Duration::from_millis(250);

/// Plans `query` and begins to run it.
pub(super) async fn begin(session: &Session, query: &str, params: Params) -> Result<Answer, Error> {
    let engine = &session.engine;
    let limits = &session.limits;
    let deadline = Instant::now() + limits.timeout;
    let permit = admit(engine, deadline).await.inspect_err(|e| engine.count(limits.purpose, e.kind().name(), 0.0))?;
    let threads = engine.inner.threads.as_ref().ok_or_else(|| Error::internal("the query threads have stopped"))?;
    let (columns, columns_known) = oneshot::channel();
    let (batches, reader) = mpsc::channel(BATCHES_WAITING);
    let query = Query {
        session: session.clone(),
        text: query.to_owned(),
        params,
        deadline,
        over: Over::at(deadline),
        columns: Some(columns),
        batches,
        count: Count { engine: engine.clone(), purpose: limits.purpose, began: Instant::now(), outcome: "cancelled" },
        _permit: permit,
    };
    engine.inner.metrics.began();
    let ending = query.over.when_dropped();
    let task = AbortOnDropHandle::new(threads.spawn(query.run()));
    let timeout = || Error::Timeout { timeout: limits.timeout };
    let planned = tokio::time::timeout_at(deadline + GRACE, columns_known).await.map_err(|_| timeout())?;
    let schema = planned.map_err(|_| Error::internal("a panic while planning"))??;
    Ok(Answer { schema, stream: AnswerStream::new(reader, (task, ending), deadline + GRACE, limits) })
}

/// Runs work that needs no plan.
pub(super) async fn task<T: Send + 'static>(
    engine: &Engine,
    limits: &super::Limits,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let deadline = Instant::now() + limits.timeout;
    let permit = admit(engine, deadline).await.inspect_err(|e| engine.count(limits.purpose, e.kind().name(), 0.0))?;
    let threads = engine.inner.threads.as_ref().ok_or_else(|| Error::internal("the query threads have stopped"))?;
    let (timeout, purpose) = (limits.timeout, limits.purpose);
    let count = Count { engine: engine.clone(), purpose, began: Instant::now(), outcome: "cancelled" };
    engine.inner.metrics.began();
    let task = AbortOnDropHandle::new(threads.spawn(async move {
        // Moved here as a whole: it counts when it is dropped.
        let (_permit, mut count) = (permit, count);
        let outcome = tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(Error::Timeout { timeout }));
        count.outcome = outcome.as_ref().map_or_else(|e| e.kind().name(), |_| "ok");
        outcome
    }));
    task.await.map_err(|e| Error::Internal(Box::new(e)))?
}

/// Waits for its turn, though not for long.
async fn admit(engine: &Engine, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
    let config = &engine.inner.config;
    let until = (Instant::now() + Duration::from_millis(config.queue_ms)).min(deadline);
    let turn = tokio::time::timeout_at(until, Arc::clone(&engine.inner.running).acquire_owned());
    match turn.await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Error::Overloaded { running: config.concurrent_max, retry_after: Duration::from_secs(2) }),
    }
}

/// One query on the query threads.
struct Query {
    session: Session,
    text: String,
    params: Params,
    deadline: Instant,
    over: Over,
    columns: Option<oneshot::Sender<Result<SchemaRef, Error>>>,
    batches: mpsc::Sender<Result<RecordBatch, Error>>,
    count: Count,
    _permit: OwnedSemaphorePermit,
}

impl Query {
    async fn run(mut self) {
        let timeout = self.session.limits.timeout;
        let outcome = tokio::time::timeout_at(self.deadline, self.answer()).await;
        // What a part of the query says after the deadline, it says because of the deadline.
        let late = Instant::now() >= self.deadline;
        let outcome = outcome.unwrap_or(Err(Error::Timeout { timeout }));
        let outcome = outcome.map_err(|e| if late { Error::Timeout { timeout } } else { e });
        self.count.outcome = outcome.as_ref().map_or_else(|e| e.kind().name(), |()| "ok");
        let Err(error) = outcome else { return };
        match self.columns.take() {
            Some(columns) => drop(columns.send(Err(error))),
            None => drop(self.batches.send(Err(error)).await),
        }
    }

    async fn answer(&mut self) -> Result<(), Error> {
        let (plan, state) = self.plan().await?;
        let scanned = Scanned { plan: Arc::clone(&plan), engine: self.session.engine.clone() };
        let (plan, context) = guarded(plan, &state, &self.over)?;
        let mut stream = execute_stream(plan, context)?;
        if let Some(columns) = self.columns.take()
            && columns.send(Ok(stream.schema())).is_err()
        {
            return Ok(());
        }
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            self.session.engine.inner.metrics.answered(batch.num_rows());
            if self.batches.send(Ok(batch)).await.is_err() {
                break;
            }
        }
        drop(scanned);
        Ok(())
    }

    async fn plan(&self) -> Result<(Arc<dyn ExecutionPlan>, datafusion::execution::SessionState), Error> {
        let mut statement = statement::parse(&self.text)?;
        rewrite::rewrite(&mut statement, &self.params)?;
        let mut state = self.session.state()?;
        // What `now()` is, for the whole query.
        state.mark_start_execution();
        let logical = state.statement_to_plan(statement).await?;
        // The statement was checked word by word; this is DataFusion's own check.
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&logical)?;
        let physical = state.create_physical_plan(&logical).await?;
        Ok((physical, state))
    }
}

/// Counts a query when it ends, in whatever way.
struct Count {
    engine: Engine,
    purpose: &'static str,
    began: Instant,
    outcome: &'static str,
}

impl Drop for Count {
    fn drop(&mut self) {
        let metrics = &self.engine.inner.metrics;
        metrics.count(self.purpose, self.outcome, self.began.elapsed().as_secs_f64());
        metrics.ended();
    }
}

/// Counts the bytes that a plan has read when it ends, in whatever way.
struct Scanned {
    plan: Arc<dyn ExecutionPlan>,
    engine: Engine,
}

impl Drop for Scanned {
    fn drop(&mut self) {
        self.engine.inner.metrics.scanned(scanned_bytes(&*self.plan));
    }
}

fn scanned_bytes(plan: &dyn ExecutionPlan) -> usize {
    let own = plan.metrics().and_then(|m| m.sum_by_name("bytes_scanned")).map_or(0, |v| v.as_usize());
    own + plan.children().into_iter().map(|child| scanned_bytes(&**child)).sum::<usize>()
}
