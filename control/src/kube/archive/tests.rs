//! The snapshot on disk: what is written is what is read, and nothing else is believed.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Place {
    keep: Keep,
}

impl Place {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("ringway-{name}-{}", std::process::id()));
        let keep = Keep { directory, secrets: false };
        keep.prepare().unwrap();
        Self { keep }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.keep.directory));
    }
}

fn service(name: &str, port: u16) -> (Kind, Name, Box<str>) {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"a"}},"spec":{{"ports":[{{"port":{port}}}]}}}}"#
    );
    (Kind::Service, Name::new("a", name), text.into())
}

fn put(archive: &mut Archive, (kind, name, raw): (Kind, Name, Box<str>)) {
    archive.put(kind, &name, raw);
}

/// Lets due writes happen until none is left.
async fn written(archive: &mut Archive) {
    while archive.due().is_some() {
        archive.write_due(Instant::now() + Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
}

fn objects(archive: &Archive) -> Vec<String> {
    let mut found = Vec::new();
    archive.read(|_, item| found.push(format!("{:?}", item.object.unwrap()))).unwrap();
    found.sort();
    found
}

#[tokio::test]
async fn what_is_written_is_read_again_also_after_changes() {
    let place = Place::new("archive-round");
    let mut archive = Archive::new(place.keep.clone());
    put(&mut archive, service("s", 80));
    put(&mut archive, service("t", 81));
    assert!(archive.due().is_none(), "nothing is written before everything is listed");
    archive.open();
    written(&mut archive).await;
    assert_eq!(objects(&archive).len(), 2);
    // One from memory, one copied from the file before, one gone.
    put(&mut archive, service("t", 82));
    put(&mut archive, service("u", 83));
    archive.remove(Kind::Service, &Name::new("a", "u"));
    archive.touch();
    written(&mut archive).await;
    let found = objects(&archive);
    assert_eq!(found.len(), 2);
    assert!(found.iter().any(|text| text.contains("port: 80")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("port: 82")), "{found:?}");
    let in_file = |kept: &Kept| matches!(kept.place, super::Place::File { .. });
    assert!(archive.objects.values().all(in_file), "nothing stays in memory");
}

#[tokio::test]
async fn a_change_that_does_not_matter_is_written_only_with_one_that_does() {
    let place = Place::new("archive-matter");
    let mut archive = Archive::new(place.keep.clone());
    archive.open();
    written(&mut archive).await;
    put(&mut archive, service("s", 80));
    assert!(archive.due().is_none());
    archive.touch();
    assert!(archive.due().is_some());
}

#[tokio::test]
async fn only_the_owner_can_read_it_and_secrets_are_not_in_it_unless_asked_for() {
    let place = Place::new("archive-mode");
    let mut archive = Archive::new(place.keep.clone());
    assert!(!archive.keeps(Kind::Secret) && archive.keeps(Kind::HttpRoute));
    archive.open();
    written(&mut archive).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&archive.file()), 0o600);
    assert_eq!(mode(&place.keep.directory), 0o700);
    let files = fs::read_dir(&place.keep.directory).unwrap().count();
    assert_eq!(files, 1, "no temporary file stays");
}

#[tokio::test]
async fn a_cut_changed_or_foreign_file_is_refused() {
    let place = Place::new("archive-damage");
    let mut archive = Archive::new(place.keep.clone());
    put(&mut archive, service("s", 80));
    archive.open();
    written(&mut archive).await;
    let good = fs::read_to_string(archive.file()).unwrap();
    for length in 0..good.len() {
        fs::write(archive.file(), &good[..length]).unwrap();
        let result = archive.read(|_, _| panic!("nothing of a cut file is used"));
        assert!(matches!(result, Err(ArchiveError::Damaged(_))), "{length}");
    }
    fs::write(archive.file(), good.replace("80", "81")).unwrap();
    assert!(matches!(archive.read(|_, _| ()), Err(ArchiveError::Damaged(_))));
    fs::write(archive.file(), good.replace("snapshot\":1", "snapshot\":2")).unwrap();
    assert!(matches!(archive.read(|_, _| ()), Err(ArchiveError::Format(2))));
    fs::write(archive.file(), [0xff, 0xfe]).unwrap();
    assert!(matches!(archive.read(|_, _| ()), Err(ArchiveError::Damaged(_))));
    fs::remove_file(archive.file()).unwrap();
    assert!(matches!(archive.read(|_, _| ()), Err(ArchiveError::Absent)));
}

#[tokio::test]
async fn a_write_that_fails_is_tried_again_and_loses_nothing() {
    let place = Place::new("archive-fail");
    let mut archive = Archive::new(place.keep.clone());
    put(&mut archive, service("s", 80));
    archive.open();
    fs::remove_dir_all(&place.keep.directory).unwrap();
    while archive.running.is_some() || !archive.has_failed {
        archive.write_due(Instant::now() + Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    place.keep.prepare().unwrap();
    written(&mut archive).await;
    assert_eq!(objects(&archive).len(), 1);
}

#[test]
fn what_a_killed_writer_left_is_removed_once_it_is_old() {
    let place = Place::new("archive-sweep");
    let left = |name: &str, age: Duration| {
        let path = place.keep.directory.join(name);
        File::create(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        path
    };
    let old = left(".snapshot.jsonl.1", LEFTOVER_AGE * 2);
    let fresh = left(".snapshot.jsonl.2", Duration::ZERO);
    let foreign = left("other", LEFTOVER_AGE * 2);
    place.keep.prepare().unwrap();
    assert!(!old.exists() && fresh.exists() && foreign.exists());
}
