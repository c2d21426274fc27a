//! Days and hours of all functions, added up and kept: they stay the same until the next hour is rolled up.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hopline_stitch::rollups::{DAY, Resolution};
use hopline_storage::Changed;
use parking_lot::Mutex;

use super::rows::Piece;
use super::{Rollups, Wanted};

/// What is kept takes so much memory at most, about; what was used longest ago goes first.
const BYTES_MAX: usize = 32 << 20;

/// Pieces of ranges that were added up, function by function, whenever they were.
#[derive(Debug, Default)]
pub(crate) struct KeptPieces {
    inner: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: HashMap<Name, Entry>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    stamp: Stamp,
    rollups: Arc<Rollups>,
    bytes: usize,
    used: u64,
}

/// Which piece, and of which range: what days tell is left out of its hours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    tenant: Arc<str>,
    piece: Piece,
    hours: (i64, i64),
    days: (i64, i64),
}

/// All on which the sum of a piece depends. Taken before the snapshot that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// How often something was rolled up.
    pub(super) rolled_up: u64,
    /// How many files of roll-ups were removed by retention.
    pub(super) expired: u64,
    /// Which of its hours and days were changed, and so left out.
    changed: u64,
}

impl Name {
    /// Nothing for pieces that are not worth keeping: minutes are those of a range that moves on.
    pub(super) fn of(tenant: &str, piece: Piece, wanted: &Wanted) -> Option<Name> {
        let is_kept = matches!(piece.resolution, Resolution::Hour | Resolution::Day);
        let (hours, days) = ((wanted.hours.from, wanted.hours.to), (wanted.days.from, wanted.days.to));
        is_kept.then(|| Name { tenant: tenant.into(), piece, hours, days })
    }
}

impl Stamp {
    /// The same for one piece.
    pub(super) fn of_piece(self, piece: Piece, changed: &Changed) -> Stamp {
        // Of one process alone: the seed needs not be a secret.
        let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
        changed.hours_in(piece.from..piece.to).for_each(|hour| hour.hash(&mut hasher));
        0xff_u8.hash(&mut hasher);
        let day = piece.from.div_euclid(DAY) * DAY;
        changed.days_in(day..piece.to).for_each(|day| day.hash(&mut hasher));
        Stamp { changed: std::hash::Hasher::finish(&hasher), ..self }
    }

    /// For any piece.
    pub(super) fn new(rolled_up: u64, expired: u64) -> Stamp {
        Stamp { rolled_up, expired, changed: 0 }
    }
}

impl KeptPieces {
    /// What is kept of a piece, if it is still so.
    pub(super) fn find(&self, name: &Name, stamp: Stamp) -> Option<Arc<Rollups>> {
        let mut kept = self.inner.lock();
        kept.uses += 1;
        let uses = kept.uses;
        let entry = kept.pieces.get_mut(name).filter(|entry| entry.stamp == stamp)?;
        entry.used = uses;
        Some(Arc::clone(&entry.rollups))
    }

    pub(super) fn keep(&self, name: Name, stamp: Stamp, rollups: &Arc<Rollups>) {
        let bytes = rollups.bytes();
        if bytes > BYTES_MAX {
            return;
        }
        let mut kept = self.inner.lock();
        kept.uses += 1;
        let entry = Entry { stamp, rollups: Arc::clone(rollups), bytes, used: kept.uses };
        kept.bytes += bytes;
        if let Some(before) = kept.pieces.insert(name, entry) {
            kept.bytes -= before.bytes;
        }
        while kept.bytes > BYTES_MAX {
            let oldest = kept.pieces.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            let Some(gone) = oldest.and_then(|name| kept.pieces.remove(&name)) else { return };
            kept.bytes -= gone.bytes;
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.inner.lock().pieces.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::collections::{BTreeMap, BTreeSet};

    use hopline_stitch::invocation::rollup::Rollup;
    use hopline_stitch::rollups::changed as changed_row;

    use super::*;
    use crate::api::params::TimeRange;
    use crate::api::rollups::Detail;

    fn name(from: i64) -> Name {
        let wanted = Wanted::of(TimeRange { start: Some(0), end: Some(1 << 60) }, Detail::Whole);
        let minutes = Piece { resolution: Resolution::Minute, from, to: from + 60 };
        assert_eq!(Name::of("t", minutes, &wanted), None);
        Name::of("t", Piece { resolution: Resolution::Hour, ..minutes }, &wanted).unwrap()
    }

    fn rollups(functions: usize) -> Arc<Rollups> {
        let mut rollups = Rollups::default();
        for function in 0..functions {
            rollups.add(changed_row(&format!("f{function}"), 0, 0).key, Rollup { count: 1, ..Rollup::default() });
        }
        Arc::new(rollups)
    }

    #[test]
    fn what_changed_is_not_found_and_what_is_too_much_goes_the_oldest_first() {
        let kept = KeptPieces::default();
        let stamp = Stamp::new(1, 0);
        kept.keep(name(0), stamp, &rollups(3));
        assert_eq!(kept.find(&name(0), stamp).unwrap().functions().len(), 3);
        assert!(kept.find(&name(60), stamp).is_none());
        for other in [Stamp::new(2, 0), Stamp::new(1, 1)] {
            assert!(kept.find(&name(0), other).is_none());
        }
        let many = rollups(BYTES_MAX / 4 / rollups(1).bytes());
        for hour in 1..=3 {
            kept.keep(name(hour * 60), stamp, &many);
            kept.find(&name(0), stamp).unwrap();
        }
        kept.keep(name(4 * 60), stamp, &many);
        let left: Vec<i64> = (0..=4).filter(|hour| kept.find(&name(hour * 60), stamp).is_some()).collect();
        assert_eq!(left, [0, 2, 3, 4]);
        kept.keep(name(0), stamp, &rollups(BYTES_MAX / 100));
        assert_eq!(kept.find(&name(0), stamp).unwrap().functions().len(), 3, "what is too large is not kept");
    }

    #[test]
    fn a_stamp_tells_what_of_the_piece_was_changed() {
        let changed = |hours: &[(i64, &str)], days: &[(i64, &str)]| Changed {
            hours: hours.iter().map(|(hour, f)| ((*hour, (*f).into()), 7)).collect::<BTreeMap<_, _>>(),
            days: days.iter().map(|(day, f)| (*day, (*f).into())).collect::<BTreeSet<_>>(),
            is_complete: true,
        };
        let piece = Piece { resolution: Resolution::Hour, from: DAY + 60, to: DAY + 180 };
        let of = |hours: &[(i64, &str)], days: &[(i64, &str)]| Stamp::new(1, 1).of_piece(piece, &changed(hours, days));
        let none = of(&[], &[]);
        assert_eq!(of(&[(DAY, "f"), (DAY + 180, "f")], &[(0, "f"), (2 * DAY, "f")]), none);
        let stamps = [of(&[(DAY + 60, "f")], &[]), of(&[(DAY + 60, "g")], &[]), of(&[], &[(DAY, "f")]), none];
        assert!((0..4).all(|a| (0..a).all(|b| stamps[a] != stamps[b])));
    }
}
