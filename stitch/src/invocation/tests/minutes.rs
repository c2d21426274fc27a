use super::rollup::{Rollup, RollupKey, cold_rate, cold_start_wait, roll_up};
use super::*;
use proptest::prelude::*;
use sketches_ddsketch::{Config, DDSketch};

fn sketch(values: &[u64]) -> Sketch {
    let mut sketch = Sketch::new();
    values.iter().for_each(|v| sketch.add(*v));
    sketch
}

#[test]
fn an_empty_sketch() {
    let sketch = Sketch::new();
    assert_eq!((sketch.count(), sketch.min(), sketch.max(), sketch.quantile(0.5)), (0, None, None, None));
    assert_eq!(Sketch::decode(&sketch.encode()), Ok(sketch));
}

#[test]
fn the_ends_are_exact() {
    let sketch = sketch(&[0, 7, 1_234_567_891, u64::MAX]);
    assert_eq!((sketch.min(), sketch.max(), sketch.sum()), (Some(0), Some(u64::MAX), u64::MAX));
    assert_eq!(sketch.quantile(0.0), Some(0.0));
    assert_eq!(sketch.quantile(1.0), Some(u64::MAX as f64));
    assert_eq!([sketch.quantile(-0.1), sketch.quantile(1.1), sketch.quantile(f64::NAN)], [None; 3]);
}

#[test]
fn damaged_bytes_are_refused() {
    let good = sketch(&[5, 900, 900, 70_000]).encode();
    assert_eq!(Sketch::decode(&[]), Err(SketchError::Short));
    assert_eq!(Sketch::decode(&[9, 0]), Err(SketchError::Version(9)));
    for end in 1..good.len() {
        assert_eq!(Sketch::decode(&good[..end]), Err(SketchError::Short), "{end}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(matches!(Sketch::decode(&longer), Err(SketchError::Damaged(_))));
    // Two buckets with one key.
    assert!(matches!(Sketch::decode(&[1, 0, 2, 1, 1, 2, 5, 0, 0, 0]), Err(SketchError::Damaged(_))));
    assert!(matches!(Sketch::decode(&[1, 0, 2, 9, 1, 1, 5, 0]), Err(SketchError::Damaged(_))));
    assert!(matches!(Sketch::decode(&[1, 0, 2, 1, 9, 0xff, 0xff, 0x7f]), Err(SketchError::Damaged(_))));
    assert!(matches!(Sketch::decode(&[[1].as_slice(), &[0xff; 12]].concat()), Err(SketchError::Damaged(_))));
}

fn durations() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![0u64..5, 1_000u64..100_000, 1_000_000u64..900_000_000_000, any::<u64>()], 0..200)
}

proptest! {
    #[test]
    fn quantiles_are_within_the_stated_error(mut values in durations(), q in 0.0f64..=1.0) {
        prop_assume!(!values.is_empty());
        let found = sketch(&values).quantile(q).unwrap();
        values.sort_unstable();
        let exact = values[(q * (values.len() - 1) as f64) as usize] as f64;
        // And the digits of the arithmetic.
        prop_assert!((found - exact).abs() <= exact * (RELATIVE_ERROR + 1e-9), "{found} for {exact}");
    }

    #[test]
    fn quantiles_are_those_of_the_crate(values in prop::collection::vec(1u64..1_000_000_000_000, 1..100), q in 0.01f64..0.99) {
        let mut other = DDSketch::new(Config::new(RELATIVE_ERROR, 2_048, 1.0));
        values.iter().for_each(|v| other.add(*v as f64));
        let (ours, theirs) = (sketch(&values).quantile(q).unwrap(), other.quantile(q).unwrap().unwrap());
        // Ours never leaves what was seen.
        prop_assert!((ours - theirs).abs() <= theirs * 2.0 * RELATIVE_ERROR, "{ours} {theirs}");
    }

    #[test]
    fn any_order_and_grouping_of_merges_is_the_same(a in durations(), b in durations(), c in durations()) {
        // A sum that overflows stops at its end, in any order.
        let [x, y, z] = [sketch(&a), sketch(&b), sketch(&c)];
        let merged = |list: &[&Sketch]| {
            let mut all = Sketch::new();
            list.iter().for_each(|s| all.merge(s));
            all
        };
        let at_once = sketch(&[a, b, c].concat());
        prop_assert_eq!(&merged(&[&x, &y, &z]), &at_once);
        prop_assert_eq!(&merged(&[&z, &x, &y]), &at_once);
        prop_assert_eq!(&merged(&[&x, &merged(&[&y, &z])]), &at_once);
    }

    #[test]
    fn bytes_there_and_back(values in durations()) {
        let sketch = sketch(&values);
        let bytes = sketch.encode();
        prop_assert_eq!(Sketch::decode(&bytes), Ok(sketch));
    }

    #[test]
    fn no_bytes_are_too_odd(mut bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        if let Ok(sketch) = Sketch::decode(&bytes) {
            let _ = sketch.quantile(0.5);
            prop_assert_eq!(Sketch::decode(&sketch.encode()), Ok(sketch));
        }
    }
}

#[test]
fn a_minute_of_one_function_is_small() {
    // A thousand durations around 100 ms.
    let values: Vec<u64> = (0..1_000).map(|i| 60_000_000 + i * 97_001).collect();
    let bytes = sketch(&values).encode();
    assert!(bytes.len() < 300, "{} bytes", bytes.len());
}

const MINUTES: &str = "0 init_report took=0 type=on-demand
    1 span id=a took=10 status=ok cold=true
    12 report id=a took=11 billed=12 size=128 used=64
    100 span id=b took=30 status=error
    200 span id=c took=20 status=ok
    61000 span id=d took=20 status=ok
    63000 log id=e limit=1000 status=timeout
    63001 report id=e took=1001 size=128 used=70";

#[test]
fn invocations_are_counted_by_the_minute() {
    let rollups = roll_up(&merged(MINUTES).invocations);
    let lines: Vec<String> = rollups
        .iter()
        .map(|(k, r)| {
            format!("{} {} {} {} {}", k.minute, k.start_type, k.outcome, r.count, r.duration.sum() / MS as u64)
        })
        .collect();
    assert_eq!(
        lines,
        ["0 cold ok 1 11", "0 warm ok 1 20", "0 warm error 1 30", "1 warm ok 1 20", "1 warm timeout 1 1001"]
    );
    let last = rollups.values().last().unwrap();
    assert_eq!((last.timed_out, last.reported, last.lost, last.memory_used_max), (1, 1, 1, 70 << 20));
    assert_eq!(cold_rate(&rollups), (Some(0.2), Some(1.0)));
    let unknown = roll_up(&merged("0 span id=a took=5").invocations);
    assert_eq!(cold_rate(&unknown), (None, Some(0.0)));
    assert_eq!(cold_rate([]), (None, None));
}

#[test]
fn what_a_cold_start_costs_whoever_waits() {
    let script = "400 init_report took=400 type=on-demand\n401 span id=a took=150\n1000 span id=b took=50\n2000 span id=c took=50";
    let found = cold_start_wait(&roll_up(&merged(script).invocations)).unwrap() / MS as f64;
    // 400 ms of initialisation, and 150 ms where warm ones take 50.
    assert!((found - 500.0).abs() <= 500.0 * 2.0 * RELATIVE_ERROR, "{found}");
    assert_eq!(cold_start_wait(&roll_up(&merged("0 span id=a took=5 cold=true").invocations)), None);
}

#[test]
fn rollups_are_equal_to_a_full_count() {
    // Three thousand invocations over an hour, of many durations, every 7th failed.
    let line = |i: u64| {
        let (at, took) = (i * 1_200, 1 + i * i * 7_919 % 90_000);
        let status = if i.is_multiple_of(7) { "error" } else { "ok" };
        format!("{at} span id=i{i} took={took} in=e{} status={status}\n", i % 50)
    };
    let invocations = merged(&(0..3_000).map(line).collect::<String>()).invocations;
    let rollups = roll_up(&invocations);
    let mut all = Rollup::default();
    rollups.values().for_each(|rollup| all.merge(rollup));
    let failed = |outcome: Outcome| outcome.is_failed();
    let counted: u64 = rollups.iter().filter(|(key, _)| failed(key.outcome)).map(|(_, r)| r.count).sum();
    assert_eq!((all.count, counted), (3_000, invocations.iter().filter(|i| failed(i.outcome)).count() as u64));
    let mut durations: Vec<i64> = invocations.iter().filter_map(|i| i.duration_ns).collect();
    durations.sort_unstable();
    assert_eq!(all.duration.sum(), durations.iter().sum::<i64>() as u64);
    for q in [0.0, 0.5, 0.9, 0.95, 0.99, 1.0] {
        let exact = durations[(q * (durations.len() - 1) as f64) as usize] as f64;
        let found = all.duration.quantile(q).unwrap();
        assert!((found - exact).abs() <= exact * (RELATIVE_ERROR + 1e-9), "{q}: {found} for {exact}");
    }
    for minute in 0..60 {
        let is_in = |i: &&Invocation| i.start_ns.div_euclid(super::rollup::MINUTE_NS) == minute;
        let found: u64 = rollups.iter().filter(|(key, _)| key.minute == minute).map(|(_, r)| r.count).sum();
        assert_eq!(found, invocations.iter().filter(is_in).count() as u64, "{minute}");
    }
}

#[test]
fn rollups_of_parts_are_the_rollup_of_the_whole() {
    let invocations = merged(MINUTES).invocations;
    let whole = roll_up(&invocations);
    for at in 0..=invocations.len() {
        let (a, b) = invocations.split_at(at);
        for (one, other) in [(a, b), (b, a)] {
            let mut parts = roll_up(one);
            for (key, rollup) in roll_up(other) {
                parts.entry(key).or_default().merge(&rollup);
            }
            assert_eq!(parts, whole);
        }
    }
    let mut empty = Rollup::default();
    empty.merge(&Rollup::default());
    assert_eq!(empty, Rollup::default());
    assert_eq!(empty.cost(), None);
    assert_eq!(RollupKey::of(&invocations[0]).function, "f");
}
