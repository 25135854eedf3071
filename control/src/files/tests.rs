//! Files on a real directory, one scan at a time and through the watch.

use std::fs;
use std::path::{Path, PathBuf};

use super::Files;
use crate::api::Name;
use crate::store::Store;

/// A directory that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringway-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        // As editors do: the new file replaces the old one whole.
        let hidden = self.0.join(format!(".{name}.new"));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, self.0.join(name)).unwrap();
    }

    fn open(&self) -> Files {
        Files::open(std::slice::from_ref(&self.0)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{ca.crt: {value}}}\n"
    )
}

fn value(store: &Store, name: &str) -> Option<String> {
    let snapshot = store.snapshot();
    let object = snapshot.config_maps.get(&Name::new("default", name))?;
    object.data.ca.as_deref().map(str::to_owned)
}

fn settle(files: &mut Files, store: &mut Store) {
    files.scan();
    files.apply(store);
}

#[test]
fn objects_come_change_and_go_with_their_files() {
    let folder = Folder::new("come");
    folder.write("a.yaml", &format!("{}---\n{}", map("one", "x"), map("two", "x")));
    folder.write("b.txt", &map("other", "x"));
    folder.write(".hidden.yaml", &map("hidden", "x"));
    let (mut files, mut store) = (folder.open(), Store::default());
    files.apply(&mut store);
    assert_eq!(store.snapshot().config_maps.len(), 2);
    folder.write("a.yaml", &map("one", "y"));
    settle(&mut files, &mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("y"));
    assert_eq!(value(&store, "two"), None);
    fs::remove_file(folder.0.join("a.yaml")).unwrap();
    settle(&mut files, &mut store);
    assert_eq!(store.snapshot().config_maps.len(), 0);
}

#[test]
fn a_bad_object_keeps_its_last_good_version_and_all_others() {
    let folder = Folder::new("bad");
    let text = |one: &str, two: &str| format!("{}---\n{}", map("one", one), map("two", two));
    folder.write("a.yaml", &text("x", "x"));
    let (mut files, mut store) = (folder.open(), Store::default());
    files.apply(&mut store);
    folder.write("a.yaml", &text("[]", "y"));
    settle(&mut files, &mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("x"));
    assert_eq!(value(&store, "two").as_deref(), Some("y"));
    let problems = files.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].at.line, problems[0].field.as_str()), (4, "data.ca.crt"));
    folder.write("a.yaml", &text("z", "y"));
    settle(&mut files, &mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("z"));
    assert!(files.problems().is_empty());
}

#[test]
fn text_that_cannot_be_read_takes_nothing_away() {
    let folder = Folder::new("syntax");
    folder.write("a.yaml", &format!("{}---\n{}", map("one", "x"), map("two", "x")));
    let (mut files, mut store) = (folder.open(), Store::default());
    files.apply(&mut store);
    folder.write("a.yaml", &format!("{}---\nkind: [\n", map("one", "y")));
    settle(&mut files, &mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("y"));
    assert_eq!(value(&store, "two").as_deref(), Some("x"));
    assert_eq!(files.problems().len(), 1);
}

#[test]
fn of_two_files_with_one_object_the_first_by_path_wins() {
    let folder = Folder::new("twice");
    folder.write("b.yaml", &map("one", "b"));
    let (mut files, mut store) = (folder.open(), Store::default());
    files.apply(&mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("b"));
    folder.write("a.yaml", &map("one", "a"));
    settle(&mut files, &mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("a"));
    assert!(files.problems()[0].file.ends_with("b.yaml"));
    fs::remove_file(folder.0.join("a.yaml")).unwrap();
    settle(&mut files, &mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("b"));
    assert!(files.problems().is_empty());
}

#[test]
fn only_files_that_changed_are_read_and_equal_objects_keep_their_address() {
    let folder = Folder::new("same");
    folder.write("a.yaml", &map("one", "x"));
    let (mut files, mut store) = (folder.open(), Store::default());
    files.apply(&mut store);
    let before = store.snapshot();
    assert!(!files.scan(), "nothing changed");
    folder.write("a.yaml", &format!("{}---\n{}", map("one", "x"), map("two", "x")));
    settle(&mut files, &mut store);
    let (name, now) = (Name::new("default", "one"), store.snapshot());
    assert!(std::sync::Arc::ptr_eq(&before.config_maps[&name], &now.config_maps[&name]));
    assert_eq!(before.config_maps.len(), 1, "a snapshot never changes");
}

#[test]
fn a_configmap_volume_is_followed() {
    let folder = Folder::new("volume");
    let version = |name: &str, value: &str| {
        let version = folder.0.join(name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("a.yaml"), map("one", value)).unwrap();
    };
    let point = |target: &str| {
        let link = folder.0.join("..new");
        std::os::unix::fs::symlink(target, &link).unwrap();
        fs::rename(link, folder.0.join("..data")).unwrap();
    };
    version("..1", "x");
    point("..1");
    std::os::unix::fs::symlink("..data/a.yaml", folder.0.join("a.yaml")).unwrap();
    let (mut files, mut store) = (folder.open(), Store::default());
    files.apply(&mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("x"));
    version("..2", "y");
    point("..2");
    settle(&mut files, &mut store);
    assert_eq!(value(&store, "one").as_deref(), Some("y"));
}

#[test]
fn a_root_that_does_not_exist_is_an_error_that_names_it() {
    let error = Files::open(&[Path::new("/nonexistent/ringway").to_owned()]).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/ringway: "));
}

#[test]
fn the_watch_tells_of_a_change_in_place_and_of_a_replaced_file() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let folder = Folder::new("watch");
        folder.write("a.yaml", &map("one", "x"));
        let (mut files, mut store) = (folder.open(), Store::default());
        files.apply(&mut store);
        fs::write(folder.0.join("a.yaml"), map("one", "y")).unwrap();
        files.changed().await;
        files.apply(&mut store);
        assert_eq!(value(&store, "one").as_deref(), Some("y"));
        folder.write("a.yaml", &map("one", "z"));
        files.changed().await;
        files.apply(&mut store);
        assert_eq!(value(&store, "one").as_deref(), Some("z"));
    });
}
