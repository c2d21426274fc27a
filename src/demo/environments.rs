//! Execution environments: which one takes an invocation, and how it came to be ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::{Cloud, Func, Language, Spec, Starts};
use super::platform;
use super::random::Random;
use super::when::date;
use super::words::{Attributes, Environment, Flush, MS, Measure, Nanos, SECOND, StartType, attrs};
use super::world::World;

/// After so long without work an environment is gone.
const IDLE: Nanos = 600 * SECOND;

/// The platform replaces each environment after so long, and up to twice as long.
const LIFE: Nanos = 1_800 * SECOND;

/// An environment sends its metrics when so much time has passed, not with each invocation.
const METRICS_EVERY: Nanos = 5 * SECOND;

/// All environments that are alive.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    places: BTreeMap<Func, Vec<Place>>,
    made: u64,
    web: Option<Arc<Environment>>,
}

/// One environment and what it is doing.
#[derive(Debug)]
struct Place {
    environment: Arc<Environment>,
    busy_until: Nanos,
    served: u64,
    prepared: StartType,
    init: Nanos,
    kept: bool,
    expires: Nanos,
    measures: Vec<Measure>,
    measured_from: Nanos,
}

/// An environment that is about to serve.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    /// The environment.
    pub(crate) environment: Arc<Environment>,
    /// How it was ready.
    pub(crate) start_type: StartType,
    /// Its initialisation or restore, when it serves for the first time.
    pub(crate) init: Option<Nanos>,
    /// Whether it is kept ready for a fee: provisioned concurrency.
    pub(crate) kept: bool,
    /// When the handler is called.
    pub(crate) begin: Nanos,
}

impl World {
    /// Brings up the environments that are kept ready.
    pub(crate) fn provision(&mut self) {
        for func in Func::ALL {
            let Starts::Provisioned(count) = func.spec().starts else { continue };
            for _ in 0..count {
                let ahead = 60 * SECOND + self.random.below(60) as Nanos * SECOND;
                let end = self.options.start - ahead;
                let place = self.bring_up(func, end, StartType::Preinit, true);
                self.pools.places.entry(func).or_default().push(place);
            }
        }
    }

    /// The environment in which `func` runs an invocation that comes at `at`.
    pub(crate) fn acquire(&mut self, func: Func, at: Nanos) -> Ready {
        let places = self.pools.places.entry(func).or_default();
        places.retain(|p| p.kept || (p.busy_until > at - IDLE && p.expires > at) || p.busy_until > at);
        let free = places.iter_mut().filter(|p| p.busy_until <= at).max_by_key(|p| (p.served > 0, p.busy_until));
        if let Some(place) = free {
            return place.serve(at + self.random.around(1.0));
        }
        let (mut place, begin) = self.new_place(func, at);
        let ready = place.serve(begin);
        self.pools.places.entry(func).or_default().push(place);
        ready
    }

    /// Ends an invocation; a lost environment serves no more. Gives the metrics to send, and since when they are.
    pub(crate) fn release(
        &mut self,
        func: Func,
        id: u64,
        end: Nanos,
        measure: Option<Measure>,
    ) -> (Vec<Measure>, Nanos) {
        let places = self.pools.places.entry(func).or_default();
        let Some(measure) = measure else {
            places.retain(|p| p.environment.id != id);
            return (Vec::new(), end);
        };
        let Some(place) = places.iter_mut().find(|p| p.environment.id == id) else { return (Vec::new(), end) };
        place.busy_until = end;
        place.measures.push(measure);
        let from = place.measured_from;
        if place.served > 1 && end - from < METRICS_EVERY {
            return (Vec::new(), from);
        }
        place.measured_from = end;
        (std::mem::take(&mut place.measures), from)
    }

    /// The web site's servers: one resource that is no function.
    pub(crate) fn web(&mut self) -> Arc<Environment> {
        if let Some(web) = &self.pools.web {
            return Arc::clone(web);
        }
        self.pools.made += 1;
        let instance = self.random.uuid();
        let resource = attrs![
            "service.name" => "shop-web", "service.version" => "2026.11.1", "service.instance.id" => &instance,
            "service.namespace" => "shop", "deployment.environment.name" => "demo",
            "telemetry.sdk.name" => "opentelemetry", "telemetry.sdk.language" => "nodejs", "telemetry.sdk.version" => "2.8.0",
            "host.name" => "shop-web-7d9f", "process.pid" => 17,
        ];
        let web = Environment {
            id: self.pools.made,
            func: None,
            version: "2026.11.1",
            extension: instance.clone(),
            instance,
            resource,
            platform_resource: Vec::new(),
        };
        let web = Arc::new(web);
        self.pools.web = Some(Arc::clone(&web));
        web
    }

    fn new_place(&mut self, func: Func, at: Nanos) -> (Place, Nanos) {
        let spec = func.spec();
        // The platform now and then makes an environment before it is needed.
        let early = spec.cloud == Cloud::Aws && spec.starts == Starts::OnDemand && self.random.chance(0.15);
        if early {
            let ready = at - (15 + self.random.below(300) as Nanos) * SECOND;
            return (self.bring_up(func, ready, StartType::Preinit, false), at + self.random.around(1.0));
        }
        let start_type = if spec.starts == Starts::SnapStart { StartType::Restore } else { StartType::Cold };
        let mut place = self.bring_up(func, at, start_type, false);
        // `bring_up` ends the initialisation at the time it is given: here it begins then.
        place.measured_from = at;
        let begin = at + place.init + MS;
        (place, begin)
    }

    /// Makes an environment. `at` is when its initialisation ends when it is made ahead, and when it begins otherwise.
    fn bring_up(&mut self, func: Func, at: Nanos, start_type: StartType, kept: bool) -> Place {
        let spec = func.spec();
        let init = self.random.around(spec.init_ms);
        let begin = if start_type == StartType::Preinit { at - init } else { at };
        let language = func.language(self.options.style);
        self.pools.made += 1;
        let environment = environment(func, spec, language, self.pools.made, begin, kept, &mut self.random);
        let environment = Arc::new(environment);
        if spec.cloud == Cloud::Aws {
            let mut flush = Flush::new(Arc::clone(&environment), begin + init + 5 * MS);
            platform::init(&mut flush, &mut self.random, spec, language, start_type, (begin, init), kept);
            if !self.options.bare {
                self.flushes.push(flush);
            }
        }
        let expires = begin + LIFE + self.random.below(LIFE as u64) as Nanos;
        let measured_from = begin;
        Place {
            environment,
            busy_until: at,
            served: 0,
            prepared: start_type,
            init,
            kept,
            expires,
            measures: Vec::new(),
            measured_from,
        }
    }
}

impl Place {
    fn serve(&mut self, begin: Nanos) -> Ready {
        let first = self.served == 0;
        self.served += 1;
        self.busy_until = Nanos::MAX;
        Ready {
            environment: Arc::clone(&self.environment),
            start_type: if first { self.prepared } else { StartType::Warm },
            init: first.then_some(self.init),
            kept: self.kept,
            begin,
        }
    }
}

fn environment(
    func: Func,
    spec: Spec,
    language: Language,
    id: u64,
    at: Nanos,
    kept: bool,
    random: &mut Random,
) -> Environment {
    let version = if kept { "7" } else { "$LATEST" };
    let instance = match spec.cloud {
        Cloud::Aws => format!("{}/[{version}]{}", date(at), random.hex32()),
        Cloud::Azure => random.hex32(),
        Cloud::Gcp => format!("00f1{}{}", random.hex32(), random.hex32()),
    };
    let extension = match (spec.cloud, language) {
        (Cloud::Aws, Language::Python) => random.uuid(),
        _ => instance.clone(),
    };
    let (resource, platform_resource) = match spec.cloud {
        Cloud::Aws => (aws(spec, language, version, &instance), aws_platform(spec, language, version, &extension)),
        Cloud::Azure => (azure(spec, &instance), Vec::new()),
        Cloud::Gcp => (gcp(spec, &instance), Vec::new()),
    };
    Environment { id, func: Some(func), version, instance, extension, resource, platform_resource }
}

fn aws(spec: Spec, language: Language, version: &str, instance: &str) -> Attributes {
    let memory = (spec.memory_mb * 1024 * 1024) as i64;
    let mut resource = attrs![
        "service.name" => spec.name, "cloud.provider" => "aws", "cloud.platform" => "aws_lambda",
        "cloud.region" => "eu-central-1", "faas.name" => spec.name, "faas.version" => version,
        "faas.instance" => instance, "faas.max_memory" => memory, "deployment.environment.name" => "demo",
        "telemetry.sdk.name" => "opentelemetry",
    ];
    resource.extend(match language {
        Language::Node => attrs![
            "telemetry.sdk.language" => "nodejs", "telemetry.sdk.version" => "2.8.0",
            "aws.log.group.names" => vec![format!("/aws/lambda/{}", spec.name)],
            "aws.log.stream.names" => vec![instance.to_owned()],
            "process.runtime.name" => "nodejs", "process.runtime.version" => "24.11.0",
        ],
        _ => attrs!["telemetry.sdk.language" => "python", "telemetry.sdk.version" => "1.45.1", "telemetry.auto.version" => "0.66b1"],
    });
    resource
}

/// The resource of the extension that receives the Telemetry API: it copies the memory's
/// environment variable, a text in MB. The stock one knows neither the environment's name nor
/// the cloud, and has an instance of its own.
fn aws_platform(spec: Spec, language: Language, version: &str, instance: &str) -> Attributes {
    let mut resource = attrs![
        "faas.invoked_provider" => "aws", "service.name" => spec.name, "faas.name" => spec.name,
        "faas.max_memory" => spec.memory_mb.to_string(), "faas.version" => version,
        "faas.invoked_region" => "eu-central-1",
    ];
    resource.extend(match language {
        Language::Python => attrs!["service.instance.id" => instance],
        _ => attrs!["cloud.provider" => "aws", "cloud.region" => "eu-central-1", "faas.instance" => instance],
    });
    resource
}

fn azure(spec: Spec, instance: &str) -> Attributes {
    let id = format!(
        "/subscriptions/5a1f3c00-1111-4222-8333-944444444444/resourceGroups/shop/providers/Microsoft.Web/sites/shop-ledger/functions/{}",
        spec.name
    );
    attrs![
        "service.name" => "shop-ledger", "service.version" => "1.4.0", "cloud.provider" => "azure",
        "cloud.platform" => "azure_functions", "cloud.region" => "westeurope", "cloud.resource.id" => id,
        "faas.name" => spec.name, "faas.version" => "1.4.0", "faas.instance" => instance, "service.instance.id" => instance,
        "faas.max_memory" => (spec.memory_mb * 1024 * 1024) as i64, "deployment.environment.name" => "demo",
        "telemetry.sdk.name" => "opentelemetry", "telemetry.sdk.language" => "dotnet", "telemetry.sdk.version" => "1.15.0",
    ]
}

fn gcp(spec: Spec, instance: &str) -> Attributes {
    attrs![
        "service.name" => spec.name, "cloud.provider" => "gcp", "cloud.platform" => "gcp_cloud_run",
        "cloud.region" => "europe-west3", "cloud.account.id" => "shop-demo-1234",
        "faas.name" => spec.name, "faas.version" => "loyalty-00042-zed", "faas.instance" => instance,
        "deployment.environment.name" => "demo",
        "telemetry.sdk.name" => "opentelemetry", "telemetry.sdk.language" => "python", "telemetry.sdk.version" => "1.45.1",
    ]
}
