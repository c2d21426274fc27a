//! The words for what is known of functions: each is a value and its name in columns,
//! answers and queries.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$about])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word in columns and answers.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }

            /// The one with this word.
            pub fn from_name(word: &str) -> Option<$name> {
                match word {
                    $($word => Some($name::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// Who says something of an invocation or an environment.
    Source {
        /// The function's own span.
        Span = "span",
        /// `platform.start`: the handler is called.
        Start = "start",
        /// `platform.runtimeDone`: the handler has ended.
        RuntimeDone = "runtime_done",
        /// `platform.report`: the bill.
        Report = "report",
        /// A line of the function's log.
        Log = "log",
        /// A point of a metric that one invocation made.
        Metric = "metric",
        /// The extension's span of an initialisation.
        InitSpan = "init_span",
        /// A point of a metric that an initialisation made.
        InitMetric = "init_metric",
        /// `platform.initStart`
        InitStart = "init_start",
        /// `platform.initReport`
        InitReport = "init_report",
        /// `platform.restoreStart`
        RestoreStart = "restore_start",
        /// `platform.restoreReport`
        RestoreReport = "restore_report",
        /// `platform.logsDropped`
        LogsDropped = "logs_dropped",
    }
}

impl Source {
    /// Whether it speaks of an environment's beginning, not of an invocation.
    pub fn is_of_environment(self) -> bool {
        use Source::{InitMetric, InitReport, InitSpan, InitStart, RestoreReport, RestoreStart};
        matches!(self, InitSpan | InitMetric | InitStart | InitReport | RestoreStart | RestoreReport)
    }
}

words! {
    /// A cloud.
    Provider {
        /// Amazon Web Services.
        Aws = "aws",
        /// Microsoft Azure.
        Azure = "azure",
        /// Google Cloud.
        Gcp = "gcp",
        /// Another one.
        Other = "other",
    }
}

impl Provider {
    /// The provider of a `cloud.provider`, `faas.invoked_provider` or `cloud.platform`.
    pub fn of(text: &str) -> Option<Provider> {
        let is = |prefix: &str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        match text {
            "" => None,
            _ if is("aws") => Some(Provider::Aws),
            _ if is("azure") => Some(Provider::Azure),
            _ if is("gcp") || is("google") => Some(Provider::Gcp),
            _ => Some(Provider::Other),
        }
    }
}

words! {
    /// What starts a function: the values of `faas.trigger` (OpenTelemetry semantic
    /// conventions, FaaS spans).
    Trigger {
        /// A change in a store: an object, a row.
        Datasource = "datasource",
        /// A web request.
        Http = "http",
        /// A message or an event.
        Pubsub = "pubsub",
        /// A schedule.
        Timer = "timer",
        /// Anything else, such as a direct call.
        Other = "other",
    }
}

impl Trigger {
    /// The trigger that an attribute names: a word of the conventions, or the type of an
    /// Azure Functions binding, which the Azure host sends as it is.
    pub fn of(text: &str) -> Option<Trigger> {
        let word = text.to_ascii_lowercase();
        if let Some(trigger) = Trigger::from_name(&word) {
            return Some(trigger);
        }
        Some(match word.strip_suffix("trigger")? {
            "http" => Trigger::Http,
            "timer" => Trigger::Timer,
            "queue" | "servicebus" | "eventhub" | "eventgrid" | "kafka" | "rabbitmq" => Trigger::Pubsub,
            "blob" | "cosmosdb" | "sql" | "mysql" => Trigger::Datasource,
            _ => Trigger::Other,
        })
    }
}

words! {
    /// How an environment is initialised: AWS's words for `AWS_LAMBDA_INITIALIZATION_TYPE`.
    InitType {
        /// When an invocation needs it.
        OnDemand = "on-demand",
        /// Ahead, for a fee.
        Provisioned = "provisioned-concurrency",
        /// From a snapshot.
        SnapStart = "snap-start",
        /// On instances that serve many invocations at once.
        Managed = "lambda-managed-instances",
    }
}

words! {
    /// When an initialisation runs: AWS's words.
    InitPhase {
        /// Before the first invocation.
        Init = "init",
        /// Again, within an invocation, after one that failed.
        Invoke = "invoke",
    }
}

words! {
    /// How one source says that an invocation ended.
    Status {
        /// It returned.
        Ok = "ok",
        /// It gave back an error.
        Error = "error",
        /// The platform stopped it.
        Timeout = "timeout",
        /// Its process ended.
        Crash = "crash",
    }
}

impl Status {
    /// The status of a platform record (Telemetry API: success, error, failure, timeout).
    pub fn of_platform(text: &str) -> Option<Status> {
        match text {
            "success" => Some(Status::Ok),
            "error" => Some(Status::Error),
            "failure" => Some(Status::Crash),
            "timeout" => Some(Status::Timeout),
            _ => None,
        }
    }
}

words! {
    /// By what one can tell that memory ran out.
    Oom {
        /// A line that runtimes print then, or an exception of that name.
        Log = "log",
        /// The process was killed: memory ran out, unless it was a time-out.
        Killed = "killed",
        /// `errorType` of a platform record is `Runtime.OutOfMemory`.
        Record = "record",
        /// The report says that all memory was used.
        Report = "report",
    }
}

words! {
    /// A processor.
    Architecture {
        /// 64-bit x86.
        X86_64 = "x86_64",
        /// 64-bit ARM.
        Arm64 = "arm64",
    }
}

impl Architecture {
    /// The architecture of a `host.arch` or another word for it.
    pub fn of(text: &str) -> Option<Architecture> {
        match text.to_ascii_lowercase().as_str() {
            "x86_64" | "amd64" | "x64" | "x86-64" => Some(Architecture::X86_64),
            "arm64" | "aarch64" => Some(Architecture::Arm64),
            _ => None,
        }
    }
}

words! {
    /// How the environment came to be ready for an invocation.
    #[derive(Default)]
    StartType {
        /// The invocation waited for the initialisation.
        Cold = "cold",
        /// The environment had served before.
        Warm = "warm",
        /// It was initialised ahead: provisioned, or by the platform's own foresight.
        Preinit = "preinit",
        /// It was restored from a snapshot.
        Restore = "restore",
        /// What is known does not say.
        #[default]
        Unknown = "unknown",
    }
}

words! {
    /// How an invocation ended.
    #[derive(Default)]
    Outcome {
        /// It returned.
        Ok = "ok",
        /// It gave back an error.
        Error = "error",
        /// The platform stopped it.
        Timeout = "timeout",
        /// Memory ran out.
        Oom = "oom",
        /// Its process ended in another way.
        Crash = "crash",
        /// Nobody has said yet.
        #[default]
        Unknown = "unknown",
    }
}

impl Outcome {
    /// Whether it counts as failed.
    pub fn is_failed(self) -> bool {
        !matches!(self, Outcome::Ok | Outcome::Unknown)
    }
}
