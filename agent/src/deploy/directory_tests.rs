#![allow(clippy::unwrap_used)]

use std::os::unix::fs::MetadataExt;

use super::super::testing::generation;
use super::*;
use crate::store::chain_from_pem;

fn directory() -> (tempfile::TempDir, Directory) {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::new(dir.path().join("tls/web"), None);
    (dir, directory)
}

#[test]
fn chain_and_key_change_together_and_go_back_together() {
    let (_dir, directory) = directory();
    let (one, two) = (generation(1), generation(2));
    assert!(!directory.holds(&one));
    let before = directory.put(&one).unwrap();
    assert!(directory.holds(&one) && !directory.put_back(&before).unwrap());
    let before = directory.put(&two).unwrap();
    assert!(directory.holds(&two) && !directory.holds(&one));
    assert!(directory.put_back(&before).unwrap());
    assert!(directory.holds(&one));
}

#[test]
fn keys_are_for_their_readers_only_and_files_are_whole() {
    let (_dir, mut directory) = directory();
    let mode = |name: &str| std::fs::metadata(directory.live().join(name)).unwrap().mode() & 0o777;
    let one = generation(1);
    directory.put(&one).unwrap();
    assert_eq!((mode(KEY), mode(FULL_CHAIN), mode("")), (0o600, 0o644, 0o700));
    let chain = std::fs::read(directory.live().join(FULL_CHAIN)).unwrap();
    assert_eq!(chain_from_pem(&chain).unwrap(), one.chain.to_vec());
    let key = std::fs::read(directory.live().join(KEY)).unwrap();
    assert_eq!(crate::store::key_from_pem(&key).unwrap(), one.key);

    // The group of whoever runs this test is one that it may give files to.
    let gid = std::fs::metadata(directory.live()).unwrap().gid();
    directory.readers = Readers(Some(gid));
    directory.put(&generation(2)).unwrap();
    let mode = |name: &str| std::fs::metadata(directory.live().join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode(KEY), mode("")), (0o640, 0o750));
}

#[test]
fn what_is_neither_live_nor_before_goes_and_what_is_not_ours_stays() {
    let (_dir, directory) = directory();
    let kept = directory.path.join("README");
    let one = generation(1);
    directory.put(&one).unwrap();
    std::fs::write(&kept, "mine").unwrap();
    std::fs::create_dir(directory.path.join("3-notes")).unwrap();
    directory.put(&generation(2)).unwrap();
    let before = directory.put(&generation(3)).unwrap();
    directory.tidy(&before).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&directory.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split('-').next().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["2", "3", "3", "README", "live"]);
}

#[test]
fn a_left_over_of_a_crash_is_written_anew() {
    let (_dir, directory) = directory();
    let one = generation(1);
    directory.put(&one).unwrap();
    std::fs::write(directory.live().join(KEY), "half").unwrap();
    assert!(!directory.holds(&one));
    directory.put(&one).unwrap();
    assert!(directory.holds(&one));
}
