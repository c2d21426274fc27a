//! Random numbers that are the same for a seed, on every machine and in every version.

use super::words::{MS, Nanos};

/// SplitMix64: small, quick, and nobody's dependency.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// Numbers that depend on `seed` alone.
    pub(crate) fn new(seed: u64) -> Random {
        Random { state: seed ^ 0x6a09_e667_f3bc_c909 }
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// From 0 up to `below`, which is not reached.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        if below == 0 { 0 } else { self.bits() % below }
    }

    /// From 0 up to 1, which is not reached.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in a share of `p` of all calls.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A time around `ms` milliseconds with a long tail, as latencies have.
    pub(crate) fn around(&mut self, ms: f64) -> Nanos {
        // The sum of four is close enough to a normal distribution.
        let normal = (0..4).map(|_| self.unit()).sum::<f64>() - 2.0;
        let tail = if self.chance(0.02) { 3.0 } else { 1.0 };
        ((ms * (normal * 0.7).exp() * tail * MS as f64) as Nanos).max(20_000)
    }

    /// A span id.
    pub(crate) fn span_id(&mut self) -> u64 {
        self.bits().max(1)
    }

    /// A trace id.
    pub(crate) fn trace_id(&mut self) -> u128 {
        (u128::from(self.bits()) << 64 | u128::from(self.bits())).max(1)
    }

    /// An identifier as clouds give them: `xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx`.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b) = (self.bits(), self.bits());
        let (first, second, third) = (a >> 32, (a >> 16) & 0xffff, a & 0xfff);
        let (fourth, fifth) = ((b >> 48) & 0x3fff | 0x8000, b & 0xffff_ffff_ffff);
        format!("{first:08x}-{second:04x}-4{third:03x}-{fourth:04x}-{fifth:012x}")
    }

    /// 32 hexadecimal digits.
    pub(crate) fn hex32(&mut self) -> String {
        format!("{:016x}{:016x}", self.bits(), self.bits())
    }
}

/// Spreads the bits of a counter over the whole word.
pub(crate) fn mix(counter: u64) -> u64 {
    let mut z = counter;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
