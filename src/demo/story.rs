//! A whole play at once, and ways to deliver it: in order, shuffled, late, twice.

use clap::ValueEnum;

use super::catalog::Style;
use super::export::Exporters;
use super::play::{Player, now};
use super::random::{self, Random};
use super::words::{Fact, Flush, MS, Nanos, SECOND};
use super::world::{Options, World};

/// All that is sent, in the order in which it happened, and all that is true.
#[derive(Debug)]
pub(crate) struct Story {
    flushes: Vec<Flush>,
    /// What is true.
    pub(crate) facts: Vec<Fact>,
}

impl Story {
    /// Plays the shop to its end.
    pub(crate) fn of(options: Options) -> Story {
        let mut story = Story { flushes: Vec::new(), facts: Vec::new() };
        for step in World::new(options) {
            story.flushes.extend(step.flushes);
            story.facts.extend(step.facts);
        }
        story
    }
}

/// In which order telemetry comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Delivery {
    /// As it happened
    Ordered,
    /// In any order
    Shuffled,
    /// The last first, so that receivers come before senders
    Late,
    /// Each span twice, in different exports
    Twice,
}

impl Delivery {
    /// All of them.
    pub(crate) const ALL: [Delivery; 4] = [Delivery::Ordered, Delivery::Shuffled, Delivery::Late, Delivery::Twice];
}

/// A seed that seldom comes twice. Six digits are easy to repeat.
pub(crate) fn fresh_seed() -> u64 {
    random::mix(now() as u64) % 1_000_000
}

/// A play of `orders`, one `every` so long, that was over some minutes ago.
pub(crate) fn past_options(seed: u64, style: Style, orders: u64, every: Nanos) -> Options {
    let end = now() - 600 * SECOND;
    let start = end - (orders as Nanos).saturating_mul(every);
    // A retry comes while others order, and so does the report that the clock starts.
    let (patience, schedule) = (5 * SECOND, 20 * every.max(SECOND));
    Options { seed, style, hooks: false, bare: false, start, end, orders, patience, schedule }
}

/// Sends a story to `endpoint`, all of it, or says what was not taken.
pub(crate) async fn deliver(endpoint: &str, story: Story, delivery: Delivery, seed: u64) -> anyhow::Result<()> {
    let mut player = Player::new(Exporters::connect(endpoint).await?, false)?;
    for flush in ordered(story.flushes, delivery, seed) {
        player.play(flush).await?;
    }
    let totals = player.finish().await;
    let lost = totals.lost.load(std::sync::atomic::Ordering::Relaxed);
    let first = totals.first_error.lock().map(|e| e.clone().unwrap_or_default()).unwrap_or_default();
    anyhow::ensure!(lost == 0, "the server did not take {lost} items: {first}");
    Ok(())
}

fn ordered(mut flushes: Vec<Flush>, delivery: Delivery, seed: u64) -> Vec<Flush> {
    match delivery {
        Delivery::Ordered => {}
        Delivery::Late => flushes.reverse(),
        Delivery::Shuffled => {
            let mut random = Random::new(seed);
            for last in (1..flushes.len()).rev() {
                flushes.swap(last, random.below(last as u64 + 1) as usize);
            }
        }
        Delivery::Twice => {
            let again: Vec<Flush> = flushes.iter().map(again).collect();
            flushes.extend(again);
        }
    }
    flushes
}

/// The same once more, in other bytes: what is equal to the byte is taken for a retry and not stored.
fn again(flush: &Flush) -> Flush {
    let mut again = Flush { at: flush.at + MS, measures: Vec::new(), ..flush.clone() };
    again.spans.reverse();
    again.logs.reverse();
    again.platform_logs.reverse();
    if let ([_], Some(span)) = (again.spans.as_slice(), again.platform_spans.first().cloned()) {
        again.platform_spans.push(span);
    }
    again
}
