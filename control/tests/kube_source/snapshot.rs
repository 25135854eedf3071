//! A start while the API server is away: the snapshot on disk serves until everything is listed.

use std::path::PathBuf;
use std::time::Duration;

use super::fake::{Fake, next, until};
use control::kube::{Keep, KubeSource, Options};
use control::source::Source;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringway-{name}-{}", std::process::id()));
        Self(path)
    }

    fn options(&self) -> Options {
        let keep = Keep { directory: self.0.clone(), secrets: false };
        keep.prepare().unwrap();
        Options { keep: Some(keep), ..Options::default() }
    }

    fn has_snapshot(&self) -> bool {
        self.0.join("snapshot.jsonl").exists()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Drives the source until the snapshot is on disk.
async fn kept(source: &mut KubeSource, directory: &Directory) {
    while !directory.has_snapshot() {
        let turn = tokio::time::timeout(Duration::from_millis(50), source.changed()).await;
        if turn.is_ok() {
            drop(source.build());
        }
    }
}

#[tokio::test]
async fn a_process_that_starts_while_the_server_is_away_serves_what_was_kept_and_then_the_truth() {
    let directory = Directory::new("snapshot-switch");
    let fake = Fake::start(3).await;
    let mut source = fake.source(directory.options()).await;
    let before = next(&mut source).await;
    kept(&mut source, &directory).await;
    drop(source);
    fake.set_away(true);
    let mut source = fake.source(directory.options()).await;
    assert!(source.build().is_none());
    let built = next(&mut source).await;
    assert_eq!(built.ir, before.ir, "the same configuration");
    assert!(!source.statuses().is_live(), "no status is written from it");
    assert!(built.problems.iter().any(|line| line.contains("away")), "{:?}", built.problems);
    fake.put_route("new", "s");
    fake.set_away(false);
    let built = until(&mut source, |built| built.statuses.http_routes.len() != 3).await;
    assert_eq!(built.statuses.http_routes.len(), 4);
    assert!(source.statuses().is_live());
}

#[tokio::test]
async fn a_server_that_comes_back_without_what_was_kept_is_doubted_first() {
    let directory = Directory::new("snapshot-doubt");
    let fake = Fake::start(3).await;
    let mut source = fake.source(directory.options()).await;
    next(&mut source).await;
    kept(&mut source, &directory).await;
    drop(source);
    fake.set_away(true);
    let mut source = fake.source(directory.options()).await;
    next(&mut source).await;
    fake.set_missing("httproutes", true);
    let asked = fake.requests("httproutes").len();
    fake.set_away(false);
    let healer = fake.clone();
    let healed = tokio::spawn(async move {
        while healer.requests("httproutes").len() < asked + 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        healer.set_missing("httproutes", false);
    });
    while !source.statuses().is_live() {
        source.changed().await;
        let built = source.build().unwrap();
        assert_eq!(built.statuses.http_routes.len(), 3, "nothing is taken away meanwhile");
    }
    healed.await.unwrap();
}

#[tokio::test]
async fn without_a_snapshot_or_with_a_damaged_one_nothing_is_served() {
    for text in [None, Some("{\"ringway_snapshot\":1,\"written\":1,\"objects\":0}\n")] {
        let directory = Directory::new("snapshot-damaged");
        let options = directory.options();
        if let Some(text) = text {
            std::fs::write(directory.0.join("snapshot.jsonl"), text).unwrap();
        }
        let fake = Fake::start(2).await;
        fake.set_away(true);
        let mut source = fake.source(options).await;
        let served = async {
            next(&mut source).await;
        };
        let served = tokio::time::timeout(Duration::from_secs(4), served).await;
        assert!(served.is_err(), "nothing is known, so nothing is served");
        fake.set_away(false);
        assert_eq!(next(&mut source).await.statuses.http_routes.len(), 2);
    }
}
