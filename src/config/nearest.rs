//! Which known key a mistyped one was probably meant to be.

/// The candidate that is nearest to `key`. A key that stands in the wrong section is nearest
/// to its namesake.
pub(crate) fn nearest<'a>(key: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| {
        let whole = distance(key, candidate) * 2;
        let same_name = last(key) == last(candidate);
        if same_name { whole.min(3) } else { whole }
    })
}

fn last(key: &str) -> &str {
    key.rsplit_once("__").or_else(|| key.rsplit_once('.')).map_or(key, |(_, last)| last)
}

/// How many characters must be added, removed, exchanged or swapped to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (get(&row, j) + usize::from(from != to)).min(get(&row, j + 1) + 1).min(get(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from);
            if swapped {
                best = best.min(get(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_a_slip_of_the_finger_does() {
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("grpc", "gprc", 1), ("grpc", "grcp", 1), ("adr", "addr", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn finds_the_key_that_was_meant() {
        let known = ["data", "collector.grpc_addr", "collector.http_addr", "log.level", "storage.hot_bytes"];
        for (typed, meant) in [
            ("collector.grpc_adr", "collector.grpc_addr"),
            ("colector.http_addr", "collector.http_addr"),
            ("storage.grpc_addr", "collector.grpc_addr"),
            ("dta", "data"),
            ("log.levle", "log.level"),
        ] {
            assert_eq!(nearest(typed, known), Some(meant), "{typed}");
        }
    }
}
