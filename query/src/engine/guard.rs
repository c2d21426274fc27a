//! Makes joins of everything with everything look at the deadline.
//!
//! A query ends when its task is next asked to wait. Operators are asked about once in
//! a hundred batches, which is often enough unless a batch takes seconds: in a cross
//! join, or a join by another condition than equality, each row of one side meets all
//! of the other. Around these joins every batch asks, and batches are small.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};
use futures::StreamExt;
use tokio::time::Instant;

use crate::error::Error;

/// Rows of a batch in a plan with such joins: the work between two looks at the deadline.
const BATCH_ROWS: usize = 1_024;

/// Tells the parts of a query that it is over.
#[derive(Debug, Clone)]
pub(super) struct Over {
    flag: Arc<AtomicBool>,
    deadline: Instant,
}

impl Over {
    pub(super) fn at(deadline: Instant) -> Over {
        Over { flag: Arc::default(), deadline }
    }

    fn is(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    /// What ends the query when it is dropped.
    pub(super) fn when_dropped(&self) -> OverWhenDropped {
        OverWhenDropped(Arc::clone(&self.flag))
    }
}

/// Ends a query when it is dropped.
#[derive(Debug)]
pub(super) struct OverWhenDropped(Arc<AtomicBool>);

impl Drop for OverWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `plan` and the context to run it in, guarded if it has joins that need it.
pub(super) fn guarded(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    over: &Over,
) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
    let guard = |plan: Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
        Arc::new(Guard { input: plan, over: over.clone() })
    };
    let guarded = plan.transform_up(|node| {
        let any: &dyn std::any::Any = node.as_ref();
        if !any.is::<CrossJoinExec>() && !any.is::<NestedLoopJoinExec>() {
            return Ok(Transformed::no(node));
        }
        let children = node.children().into_iter().map(|child| guard(Arc::clone(child))).collect();
        Ok(Transformed::yes(guard(replace_children_if_necessary(node, children)?)))
    })?;
    if !guarded.transformed {
        return Ok((guarded.data, state.task_ctx()));
    }
    let small = state.config().clone().with_batch_size(BATCH_ROWS);
    Ok((guarded.data, Arc::new(TaskContext::from(state).with_session_config(small))))
}

/// Hands batches on until the query is over.
#[derive(Debug)]
struct Guard {
    input: Arc<dyn ExecutionPlan>,
    over: Over,
}

impl DisplayAs for Guard {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl ExecutionPlan for Guard {
    fn name(&self) -> &str {
        "Guard"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Guard { input, over: self.over.clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let over = self.over.clone();
        let ended = || DataFusionError::External(Box::new(Error::Execution("the query was ended".to_owned())));
        let look = move |batch: Result<RecordBatch>| if over.is() { Err(ended()) } else { batch };
        let batches = self.input.execute(partition, context)?.map(look);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), batches)))
    }
}
