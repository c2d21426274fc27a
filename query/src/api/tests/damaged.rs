//! Stored files that are missing or damaged: whoever asks is told which, and what names them all.

use std::path::{Path, PathBuf};

use super::*;

/// Does `damage` to every data file.
pub(super) fn every_file(kept: &Kept, damage: impl Fn(&Path)) {
    let mut folders = vec![kept._dir.path().to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "parquet"));
    assert!(!files.is_empty());
    files.iter().for_each(|file| damage(file));
}

#[tokio::test]
async fn every_way_to_read_it_names_a_damaged_file() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("missing", |file| std::fs::remove_file(file).unwrap()),
        ("empty", |file| std::fs::write(file, []).unwrap()),
        ("cut", |file| std::fs::write(file, &std::fs::read(file).unwrap()[..100]).unwrap()),
        ("garbage", |file| std::fs::write(file, vec![7; 10_000]).unwrap()),
    ];
    for (name, damage) in damages {
        let api = Api::with(Table::Spans, &[span(1, "s", "n", 0, 1)]);
        api.flush();
        every_file(&api.kept, damage);
        for path in [
            format!("/api/v1/traces/{TRACE}"),
            format!("/api/v1/flows/{TRACE}"),
            format!("/api/v1/traces/{TRACE}/spans/0101010101010101"),
            format!("/api/v1/sql?query=SELECT%20name%20FROM%20spans%20WHERE%20trace_id=%27{TRACE}%27"),
            "/api/v1/sql?query=SELECT%20name%20FROM%20spans".to_owned(),
            "/api/v1/search".to_owned(),
        ] {
            let (status, _, body) = api.ask(&path, None).await;
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((status.as_u16(), &problem["kind"]), (503, &json!("unavailable")), "{name} {path}: {problem}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(".parquet") && detail.contains("hopline verify"), "{name} {path}: {detail}");
        }
    }
}
