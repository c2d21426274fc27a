//! How the environment came to be ready for an invocation.
//!
//! | environment | the invocation | start type |
//! |---|---|---|
//! | has served before | any | `warm` |
//! | provisioned, or managed instances | the first | `preinit` |
//! | SnapStart, restored at most 10 s before | the first | `restore` |
//! | SnapStart, restored earlier | the first | `preinit` |
//! | on demand, initialised at most 10 s before | the first | `cold` |
//! | on demand, initialised earlier: by the platform's foresight | the first | `preinit` |
//! | no record of its beginning | the first that is known | `cold` if its span says so, else `unknown` |
//! | not known | any | `cold` or `warm` as its span says, else `unknown` |
//!
//! The 10 s are those after which AWS's own tools call an initialisation proactive; the
//! caller may set others ([`super::Rules::preinit_gap_ns`]). An initialisation itself
//! takes 10 s at most, so that one that was waited for never ends so long before.
//!
//! `Init Duration` in a report is a sign that the invocation is its environment's first,
//! but not that it waited: a provisioned environment's first report has it too. A span
//! that says `faas.coldstart` is believed where no record of the platform says better:
//! some instrumentations set it for the first invocation of any process. Others say that
//! it was no cold start also of the first invocation of an environment that was made
//! ahead: of the first that is known, that leaves open whether there was one before.

use std::fmt;

use super::environment::Environment;
use super::words::{InitType, StartType};

/// After so long between initialisation and invocation, nobody waited for it.
pub const PREINIT_GAP_NS: i64 = 10_000_000_000;

/// The platform ends an initialisation after 10 s and begins it again with the invocation.
const INIT_MAX_NS: i64 = 10_000_000_000;

/// Why a start type is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartEvidence {
    /// An earlier invocation of the environment is known.
    ServedBefore,
    /// The environment's initialisation type, as the platform or the span records it.
    Initialised(InitType),
    /// So long after the initialisation's end the invocation began.
    AfterInit {
        /// Nanoseconds; negative where the clocks differ.
        gap_ns: i64,
    },
    /// So long after the restore's begin the invocation began.
    AfterRestore {
        /// Nanoseconds.
        gap_ns: i64,
    },
    /// The report names the duration of a restore.
    ReportOfRestore,
    /// The span says `faas.coldstart`, and nothing says better.
    Span {
        /// What it says.
        coldstart: bool,
    },
    /// The report names the duration of an initialisation, and the span says that the
    /// invocation did not wait for it.
    ReportOfInit,
    /// A metric counted the environment's initialisation, and nothing tells whether the
    /// invocation waited for it: at most, it did.
    Counted,
    /// Nothing names the environment.
    NoInstance,
    /// Nothing tells of the environment's beginning.
    #[default]
    NoRecord,
}

impl fmt::Display for StartEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ns: &i64| *ns as f64 / 1e9;
        match self {
            StartEvidence::ServedBefore => f.write_str("the environment had served before"),
            StartEvidence::Initialised(kind) => write!(f, "initialised as {kind}"),
            StartEvidence::AfterInit { gap_ns } => {
                write!(f, "began {:.1} s after the initialisation ended", seconds(gap_ns))
            }
            StartEvidence::AfterRestore { gap_ns } => {
                write!(f, "began {:.1} s after the restore began", seconds(gap_ns))
            }
            StartEvidence::ReportOfRestore => f.write_str("the report names a restore"),
            StartEvidence::Span { coldstart } => write!(f, "the span says faas.coldstart = {coldstart}"),
            StartEvidence::ReportOfInit => {
                f.write_str("the report names an initialisation for which the span did not wait")
            }
            StartEvidence::Counted => f.write_str(
                "a metric counted the initialisation: cold at most, and nothing says that it was waited for",
            ),
            StartEvidence::NoInstance => f.write_str("nothing names the environment"),
            StartEvidence::NoRecord => f.write_str("nothing tells of the environment's beginning"),
        }
    }
}

/// What an invocation says of its own start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    pub(super) start_ns: i64,
    /// `faas.coldstart`
    pub(super) coldstart: Option<bool>,
    /// The type that the span or its resource records.
    pub(super) init_type: Option<InitType>,
    /// `Init Duration` of the report.
    pub(super) init_ns: Option<i64>,
    /// `Restore Duration` of the report.
    pub(super) restore_ns: Option<i64>,
}

/// The start type of an invocation whose environment is not known.
pub(super) fn without_instance(signs: &Signs) -> (StartType, StartEvidence) {
    match (signs.coldstart, signs.init_type) {
        (Some(true), Some(kind)) if kind != InitType::OnDemand => initialised(kind),
        (Some(true), _) => (StartType::Cold, StartEvidence::Span { coldstart: true }),
        (Some(false), _) => (StartType::Warm, StartEvidence::Span { coldstart: false }),
        (None, _) => (StartType::Unknown, StartEvidence::NoInstance),
    }
}

/// The start type of an invocation of `environment`, which is the first that is known there unless `is_later`.
pub(super) fn of(
    signs: &Signs,
    is_later: bool,
    environment: &Environment,
    gap_max_ns: i64,
) -> (StartType, StartEvidence) {
    if is_later {
        return (StartType::Warm, StartEvidence::ServedBefore);
    }
    let found = by_platform(signs, environment, gap_max_ns);
    found.unwrap_or_else(|| by_span(signs, environment))
}

/// What the platform's records of the environment's beginning say.
fn by_platform(signs: &Signs, environment: &Environment, gap_max_ns: i64) -> Option<(StartType, StartEvidence)> {
    if !environment.is_recorded() {
        let restored = (StartType::Restore, StartEvidence::ReportOfRestore);
        return signs.restore_ns.map(|_| restored);
    }
    let kind = environment.init_type.or(signs.init_type).unwrap_or(InitType::OnDemand);
    match kind {
        InitType::Provisioned | InitType::Managed => Some(initialised(kind)),
        InitType::SnapStart => Some(match environment.restore_start_ns {
            Some(began) => {
                let gap_ns = signs.start_ns.saturating_sub(began);
                let start = if gap_ns > gap_max_ns { StartType::Preinit } else { StartType::Restore };
                (start, StartEvidence::AfterRestore { gap_ns })
            }
            None => initialised(kind),
        }),
        InitType::OnDemand => on_demand(signs, environment, gap_max_ns),
    }
}

fn on_demand(signs: &Signs, environment: &Environment, gap_max_ns: i64) -> Option<(StartType, StartEvidence)> {
    let ended = environment.init_end_ns.or_else(|| {
        let took = environment.init_ns.or(signs.init_ns)?;
        Some(environment.init_start_ns?.saturating_add(took))
    });
    if let Some(ended) = ended {
        let gap_ns = signs.start_ns.saturating_sub(ended);
        let start = if gap_ns > gap_max_ns { StartType::Preinit } else { StartType::Cold };
        return Some((start, StartEvidence::AfterInit { gap_ns }));
    }
    // Only its begin is known: it ended then at the earliest and 10 s later at the latest.
    let at_most = signs.start_ns.saturating_sub(environment.init_start_ns?);
    let evidence = |gap_ns| StartEvidence::AfterInit { gap_ns };
    if at_most <= gap_max_ns {
        return Some((StartType::Cold, evidence(at_most)));
    }
    let at_least = at_most.saturating_sub(INIT_MAX_NS);
    (at_least > gap_max_ns).then(|| (StartType::Preinit, evidence(at_least)))
}

/// What the invocation itself says, where no record tells of the environment's beginning.
fn by_span(signs: &Signs, environment: &Environment) -> (StartType, StartEvidence) {
    let kind = signs.init_type.or(environment.init_type).filter(|kind| *kind != InitType::OnDemand);
    match (signs.coldstart, kind) {
        (Some(true), Some(kind)) => initialised(kind),
        (Some(true), None) => (StartType::Cold, StartEvidence::Span { coldstart: true }),
        (_, Some(kind)) if signs.init_ns.is_some() => initialised(kind),
        (Some(false), None) if signs.init_ns.is_some() => (StartType::Preinit, StartEvidence::ReportOfInit),
        // The first of an environment made ahead, or a later one: one cannot tell.
        (Some(false), _) => (StartType::Unknown, StartEvidence::Span { coldstart: false }),
        (None, _) => {
            let is_counted = !environment.told_by.is_empty() && !environment.is_recorded();
            let evidence = if is_counted { StartEvidence::Counted } else { StartEvidence::NoRecord };
            (StartType::Unknown, evidence)
        }
    }
}

/// The start type of the first invocation of an environment that was so initialised.
fn initialised(kind: InitType) -> (StartType, StartEvidence) {
    let start = match kind {
        InitType::Provisioned | InitType::Managed => StartType::Preinit,
        InitType::SnapStart => StartType::Restore,
        InitType::OnDemand => StartType::Cold,
    };
    (start, StartEvidence::Initialised(kind))
}
