#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_percentage_is_never_rounded_up_to_all() {
    for (part, whole, expected) in
        [(0, 0, "-"), (0, 3, "0.00 %"), (2, 3, "66.66 %"), (99_999, 100_000, "99.99 %"), (3, 3, "100 %")]
    {
        assert_eq!(percent(part, whole), expected);
    }
}

#[test]
fn goals_are_those_of_the_sums() {
    let play = |seed| Played { seed, style: "python".to_owned(), setup: "stock", every_s: 1, ..Played::default() };
    assert!(missed(&[play(1), play(2)]).is_empty());
    let merged = Played { merged: 1, ..play(2) };
    let played = [play(1), merged];
    assert_eq!(missed(&played), ["python, stock, an order each 1 s: 1 flows with two stories"]);
    let lines = lines(&played, &missed(&played));
    assert_eq!(lines.last().unwrap(), "goal missed: python, stock, an order each 1 s: 1 flows with two stories");
    assert_eq!(lines.first().unwrap(), "seeds 1, 2");
    assert!(lines.contains(&"python, stock, an order each 1 s: 2 plays, 1 flows with two stories".to_owned()));
}
