//! The demo, shortened: what the README shows must be true.
#![allow(missing_docs)]

use sealwire_tests::process::{own, run};

#[test]
fn nothing_is_lost_while_certificates_change() {
    let ran = run(&mut own("sealwire-demo", ["--seconds", "12", "--every", "1", "--sessions", "200"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("Nothing was lost."), "{}", ran.out);
    let proven = ran.out.lines().filter(|line| line.starts_with('#')).count();
    assert!(proven >= 10, "{}", ran.out);
}
