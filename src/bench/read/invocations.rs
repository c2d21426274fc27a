//! Made-up invocations of many functions, and the requests that tell of them.
//!
//! Each is one SERVER span of a function on AWS. All follow from a seed. Requests come by time, as a
//! collector sends what it has kept: there are as many resources in one as spans, nearly.

use hopline_proto::wire::{begin, end, put_bytes, put_fixed64, put_varint_field};

use crate::demo::{Nanos, SECOND};

/// Execution environments of each function.
const INSTANCES: u64 = 4;
/// Versions of each function, one after the other.
const VERSIONS: i64 = 3;
/// One of so many invocations fails.
const ERRORS: u64 = 100;
/// One of so many invocations says that it was a cold start.
const COLD: u64 = 50;

/// What ran: so many invocations of each function, spread evenly over the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// The same seed and sizes, the same invocations.
    pub(super) seed: u64,
    /// Functions.
    pub(super) functions: u32,
    /// Invocations of each.
    pub(super) each: u32,
    /// From here on, in nanoseconds since 1970.
    pub(super) from: Nanos,
    /// To before this.
    pub(super) to: Nanos,
}

/// One invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Invocation {
    /// When it began, in nanoseconds since 1970.
    pub(super) start: Nanos,
    /// Whose it is.
    pub(super) function: u32,
    /// Which of its function's.
    n: u32,
}

impl Plan {
    /// All invocations, the earliest first.
    pub(super) fn invocations(&self) -> Vec<Invocation> {
        let step = (self.to - self.from) / i64::from(self.each.max(1));
        let one = |function, n| {
            let within = self.draw(function, n, 0) % step.max(1).unsigned_abs();
            Invocation { start: self.from + step * i64::from(n) + within.cast_signed(), function, n }
        };
        let of = |function| (0..self.each).map(move |n| one(function, n));
        let mut all: Vec<Invocation> = (0..self.functions).flat_map(of).collect();
        all.sort_unstable();
        all
    }

    /// The name of a function.
    pub(super) fn name(function: u32) -> String {
        format!("bench-function-{function:04}")
    }

    /// Whether an invocation failed.
    pub(super) fn failed(&self, one: &Invocation) -> bool {
        self.draw(one.function, one.n, 1).is_multiple_of(ERRORS)
    }

    /// Writes the request that tells of `some`.
    pub(super) fn write(&self, some: &[Invocation], out: &mut Vec<u8>) {
        out.clear();
        for one in some {
            let of_resource = begin(out, 1, 2);
            self.put_resource(one, out);
            let of_scope = begin(out, 2, 2);
            let scope = begin(out, 1, 1);
            put_bytes(out, 1, b"hopline-bench");
            end(out, scope);
            self.put_span(one, out);
            end(out, of_scope);
            end(out, of_resource);
        }
    }

    fn put_resource(&self, one: &Invocation, out: &mut Vec<u8>) {
        let name = Plan::name(one.function);
        let age = (one.start - self.from).saturating_mul(VERSIONS) / (self.to - self.from).max(1);
        let instance = self.draw(one.function, one.n, 2) % INSTANCES;
        let memory = 128_u64 << (one.function % 4);
        let resource = begin(out, 1, 2);
        put_attribute(out, 1, "service.name", Value::Text(&name));
        put_attribute(out, 1, "faas.name", Value::Text(&name));
        put_attribute(out, 1, "faas.version", Value::Text(&(age + 1).to_string()));
        put_attribute(out, 1, "faas.instance", Value::Text(&format!("{name}-{}-{instance}", age + 1)));
        put_attribute(out, 1, "faas.max_memory", Value::Int(memory << 20));
        put_attribute(out, 1, "cloud.provider", Value::Text("aws"));
        put_attribute(out, 1, "cloud.region", Value::Text("eu-central-1"));
        end(out, resource);
    }

    fn put_span(&self, one: &Invocation, out: &mut Vec<u8>) {
        let draw = |what| self.draw(one.function, one.n, what);
        // From 2 milliseconds to 2 seconds, short ones more often.
        let duration = 2_000_000_u64 << (draw(3) % 10).min(draw(4) % 11);
        let duration = duration + draw(5) % duration;
        let start = one.start.unsigned_abs();
        let id = format!("{:016x}{:016x}", draw(6), draw(7));
        let (a, rest) = id.split_at(8);
        let (b, rest) = rest.split_at(4);
        let (c, rest) = rest.split_at(4);
        let (d, e) = rest.split_at(4);
        let span = begin(out, 2, 2);
        put_bytes(out, 1, &[draw(8).to_be_bytes(), draw(9).max(1).to_be_bytes()].concat());
        put_bytes(out, 2, &draw(10).max(1).to_be_bytes());
        put_bytes(out, 5, Plan::name(one.function).as_bytes());
        put_varint_field(out, 6, 2);
        put_fixed64(out, 7, start);
        put_fixed64(out, 8, start + duration);
        put_attribute(out, 9, "faas.invocation_id", Value::Text(&format!("{a}-{b}-{c}-{d}-{e}")));
        put_attribute(out, 9, "faas.trigger", Value::Text("http"));
        let is_cold = draw(11).is_multiple_of(COLD);
        // As Node's instrumentation says it, of half the functions. Python's never does.
        if is_cold || one.function.is_multiple_of(2) {
            put_attribute(out, 9, "faas.coldstart", Value::Bool(is_cold));
        }
        if self.failed(one) {
            let status = begin(out, 15, 1);
            put_bytes(out, 2, b"made up");
            put_varint_field(out, 3, 2);
            end(out, status);
        }
        end(out, span);
    }

    fn draw(&self, function: u32, n: u32, what: u64) -> u64 {
        mix(mix(self.seed ^ mix(u64::from(function) << 32 | u64::from(n))).wrapping_add(what))
    }
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Int(u64),
    Bool(bool),
}

fn put_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: Value<'_>) {
    let attribute = begin(out, field, 1);
    put_bytes(out, 1, key.as_bytes());
    let any = begin(out, 2, 1);
    match value {
        Value::Text(text) => put_bytes(out, 1, text.as_bytes()),
        Value::Bool(truth) => put_varint_field(out, 2, u64::from(truth)),
        Value::Int(number) => put_varint_field(out, 3, number),
    }
    end(out, any);
    end(out, attribute);
}

/// When invocations began, sorted: tells how many are in a range.
#[derive(Debug, Default)]
pub(super) struct Starts(Vec<Nanos>);

impl Starts {
    /// Of those of `all` that are wanted. They come by time.
    pub(super) fn of(all: &[Invocation], is_wanted: impl Fn(&Invocation) -> bool) -> Starts {
        Starts(all.iter().filter(|one| is_wanted(one)).map(|one| one.start).collect())
    }

    /// How many are in `from..to`.
    pub(super) fn within(&self, from: Nanos, to: Nanos) -> u64 {
        let before = |time: Nanos| self.0.partition_point(|start| *start < time);
        before(to).saturating_sub(before(from)) as u64
    }
}

/// The start of the hour, the day or whatever takes `length` that is not yet counted by roll-ups at `now`: all before is
/// over for more than the 20 minutes that docs/functions.md tells of.
pub(super) fn counted_until(now: Nanos, length: Nanos) -> Nanos {
    (now - 20 * 60 * SECOND).div_euclid(length) * length
}

/// Spreads the bits of a number over the whole word (SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
