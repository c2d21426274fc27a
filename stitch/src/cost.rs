//! What an invocation cost, by a table of prices that the operator can replace.
//!
//! `cost = request + GB-seconds × price`, where GB-seconds are the billed duration times
//! the memory the function was given in GiB. The billed duration is taken as the platform
//! reports it: it contains the initialisation where that is billed (on AWS since
//! 2025-08-01 for all functions), so that it is never added again.
//!
//! Not in it: the free tier, discounts, and lower prices for what an account uses beyond
//! the first tier, which depend on the whole account's month; storage, data transfer and
//! the fee for keeping provisioned environments ready, which are nobody's invocation.
//!
//! No figure is better than a wrong one. The [`PriceTable::builtin`] table has AWS Lambda
//! in those regions whose prices are the same as those of us-east-1 (AWS Lambda pricing
//! page), and the price of provisioned environments for us-east-1 alone. It has no prices
//! of Azure and Google: their bills depend on the plan and on how many requests share an
//! instance, which no telemetry says. An operator who knows the plan can add them.
//!
//! The file:
//!
//! ```json
//! {"version": "2026-01", "currency": "USD", "prices": [
//!   {"provider": "aws", "regions": ["eu-west-1"], "architecture": "arm64", "from": "2021-09-29",
//!    "request": 2e-7, "gb_second": [{"up_to": 7.5e9, "price": 0.0000133334}, {"price": 0.0000120001}],
//!    "provisioned_gb_second": 0.0000077778, "minimum_ms": 1, "step_ms": 1, "memory": "size", "memory_step_mb": 1}]}
//! ```
//!
//! - `regions`: `"*"` stands for all regions that have no entry of their own, also for one
//!   that is not known.
//! - `architecture`: without it, the entry is for both.
//! - `from`: the first day of the prices; of several entries the latest that has begun counts.
//! - `gb_second`: prices by the account's GB-seconds of the month; the first is taken.
//! - `minimum_ms`, `step_ms`: the least duration that is billed, and what it is rounded up to.
//! - `memory`: `"size"` bills what the function was given, `"used"` what it used, rounded up
//!   to `memory_step_mb`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::invocation::{Architecture, InitType, Provider};

#[cfg(test)]
mod tests;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
const GIB: f64 = 1_073_741_824.0;
const BUILTIN: &str = include_str!("cost/prices.json");

/// Why a table of prices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// The file is not what it should be.
    #[error("the price table is not valid: {0}")]
    File(String),
    /// An entry is not what it should be.
    #[error("prices[{index}] ({about}): {reason}")]
    Entry {
        /// Which one, from 0.
        index: usize,
        /// Its provider, regions and architecture, as far as it names them.
        about: String,
        /// What is wrong.
        reason: String,
    },
}

/// A table of prices.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceTable {
    version: Arc<str>,
    currency: String,
    entries: Vec<Entry>,
}

/// What an invocation cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// The figure, in the table's currency; the built-in table's is USD.
    pub usd: f64,
    /// The version of the table.
    pub table: Arc<str>,
    /// Whether nobody said which processor it ran on, so that x86_64 is assumed.
    pub is_architecture_assumed: bool,
}

/// What is needed of an invocation to say what it cost.
#[derive(Debug, Clone, Copy)]
pub struct Usage<'a> {
    /// The cloud.
    pub provider: Option<Provider>,
    /// The region.
    pub region: Option<&'a str>,
    /// The processor.
    pub architecture: Option<Architecture>,
    /// How the environment was initialised.
    pub init_type: Option<InitType>,
    /// When it began: prices change.
    pub start_ns: i64,
    /// How long it is billed, in nanoseconds.
    pub billed_ns: Option<i64>,
    /// Memory it was given, in bytes.
    pub memory_size: Option<i64>,
    /// Memory it used, in bytes.
    pub memory_used: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    currency: String,
    prices: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    provider: String,
    regions: Vec<String>,
    architecture: Option<String>,
    from: String,
    request: f64,
    gb_second: Vec<Tier>,
    provisioned_gb_second: Option<f64>,
    minimum_ms: Option<f64>,
    step_ms: Option<f64>,
    #[serde(default)]
    memory: Memory,
    memory_step_mb: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    up_to: Option<f64>,
    price: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Memory {
    #[default]
    Size,
    Used,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    provider: Provider,
    architecture: Option<Architecture>,
    from_day: i64,
    gb_second: f64,
    written: Written,
}

impl PriceTable {
    /// The table that is part of the program.
    pub fn builtin() -> PriceTable {
        // A test reads it; were it not valid, nothing would have a cost.
        let nothing = |_| PriceTable { version: "none".into(), currency: "USD".to_owned(), entries: Vec::new() };
        PriceTable::parse(BUILTIN).unwrap_or_else(nothing)
    }

    /// Reads a table.
    pub fn parse(json: &str) -> Result<PriceTable, PriceError> {
        let file: File = serde_json::from_str(json).map_err(|e| PriceError::File(e.to_string()))?;
        if file.version.is_empty() {
            return Err(PriceError::File("version is empty".to_owned()));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(file.prices.len());
        for (index, value) in file.prices.into_iter().enumerate() {
            let about = about(&value);
            let error = |reason: String| PriceError::Entry { index, about: about.clone(), reason };
            let written: Written = serde_json::from_value(value).map_err(|e| error(e.to_string()))?;
            let entry = entry(written).map_err(&error)?;
            if let Some(region) = entry.written.regions.iter().find(|r| entries.iter().any(|e| e.same(&entry, r))) {
                return Err(error(format!("another entry has the same day for {region}")));
            }
            entries.push(entry);
        }
        Ok(PriceTable { version: file.version.into(), currency: file.currency, entries })
    }

    /// Its version, which is given with each figure.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its currency.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// What an invocation cost; nothing if the table has no price for it, or if what is
    /// billed is not known.
    pub fn cost(&self, usage: &Usage<'_>) -> Option<Cost> {
        let (entry, price) = self.price(usage)?;
        let memory = match entry.written.memory {
            Memory::Size => usage.memory_size?,
            Memory::Used => usage.memory_used?,
        };
        let memory = up_to_step(memory as f64, entry.written.memory_step_mb.map(|mb| mb * 1_048_576.0));
        let ms = (usage.billed_ns? as f64 / 1e6).max(entry.written.minimum_ms.unwrap_or(0.0));
        let gb_seconds = up_to_step(ms, entry.written.step_ms) / 1e3 * memory / GIB;
        let cost = entry.written.request + gb_seconds * price;
        // What is beyond the prices' own digits is noise of the arithmetic.
        let usd = (cost * 1e12).round() / 1e12;
        let is_architecture_assumed = usage.architecture.is_none() && entry.architecture.is_some();
        Some(Cost { usd, table: Arc::clone(&self.version), is_architecture_assumed })
    }

    /// The price of a GB-second: what less memory would save.
    pub fn gb_second(&self, usage: &Usage<'_>) -> Option<f64> {
        self.price(usage).map(|(_, price)| price)
    }

    fn price(&self, usage: &Usage<'_>) -> Option<(&Entry, f64)> {
        let day = usage.start_ns.div_euclid(NANOS_PER_DAY);
        let architecture = usage.architecture.unwrap_or(Architecture::X86_64);
        let fits = |entry: &&Entry| {
            Some(entry.provider) == usage.provider
                && entry.from_day <= day
                && entry.architecture.is_none_or(|a| a == architecture)
        };
        let of = |region: &str| {
            let here = self.entries.iter().filter(fits).filter(|e| e.written.regions.iter().any(|r| r == region));
            here.max_by_key(|e| (e.from_day, e.architecture))
        };
        let entry = usage.region.and_then(of).or_else(|| of("*"))?;
        let price = match usage.init_type {
            Some(InitType::Provisioned) => entry.written.provisioned_gb_second?,
            // Their instances are billed, not their invocations.
            Some(InitType::Managed) => return None,
            _ => entry.gb_second,
        };
        Some((entry, price))
    }
}

impl Entry {
    fn same(&self, other: &Entry, region: &str) -> bool {
        let key = |e: &Entry| (e.provider, e.architecture, e.from_day);
        key(self) == key(other) && self.written.regions.iter().any(|r| r == region)
    }
}

fn entry(written: Written) -> Result<Entry, String> {
    let Some(provider) = Provider::from_name(&written.provider) else {
        return Err(format!("provider {:?} is none of aws, azure, gcp, other", written.provider));
    };
    let architecture = match written.architecture.as_deref() {
        None => None,
        Some(name) => match Architecture::from_name(name) {
            Some(architecture) => Some(architecture),
            None => return Err(format!("architecture {name:?} is none of x86_64, arm64")),
        },
    };
    let Some(from_day) = days_of_date(&written.from) else {
        return Err(format!("from {:?} is not a date as 2026-01-31", written.from));
    };
    if written.regions.is_empty() || written.regions.iter().any(String::is_empty) {
        return Err("regions names none; \"*\" is all".to_owned());
    }
    let Some(first) = written.gb_second.first() else {
        return Err("gb_second has no price".to_owned());
    };
    let bounds: Vec<f64> = written.gb_second.iter().map(|t| t.up_to.unwrap_or(f64::INFINITY)).collect();
    if !bounds.is_sorted_by(|a, b| a < b) {
        return Err("gb_second is not in the order of up_to, with at most one without it, the last".to_owned());
    }
    let tiers = written.gb_second.iter().map(|tier| ("gb_second", Some(tier.price)));
    let others = [
        ("request", Some(written.request)),
        ("provisioned_gb_second", written.provisioned_gb_second),
        ("minimum_ms", written.minimum_ms),
        ("step_ms", written.step_ms),
        ("memory_step_mb", written.memory_step_mb),
    ];
    for (name, value) in tiers.chain(others) {
        if value.is_some_and(|v| !(0.0..1e12).contains(&v)) {
            return Err(format!("{name} is negative or too large"));
        }
    }
    Ok(Entry { provider, architecture, from_day, gb_second: first.price, written })
}

/// What an entry calls itself, for errors.
fn about(value: &Value) -> String {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let first = value.get("regions").and_then(Value::as_array).and_then(|r| r.first()).and_then(Value::as_str);
    let parts = [text("provider"), first.map(str::to_owned), text("architecture"), text("from")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "without a name".to_owned() } else { parts.join(" ") }
}

fn up_to_step(value: f64, step: Option<f64>) -> f64 {
    match step {
        Some(step) if step > 0.0 => (value / step).ceil() * step,
        _ => value,
    }
}

/// Days since 1970-01-01 of a date written as `2026-01-31`.
pub(crate) fn days_of_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|p| p.len() == digits && p.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<i64>().ok()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if parts.next().is_some() || !(1..=last).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_years = years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    Some(of_years + (153 * months + 2) / 5 + day - 1 - 719_468)
}
