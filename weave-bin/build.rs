//! Links the program of a release at a fixed address.
//!
//! It is started twice for every pod, as the CNI plugin. At an address drawn anew each time the loader writes to all of the 640 kB that hold
//! addresses, a page fault for each page: more time than the plugin's own work. Stack, heap and shared libraries keep
//! addresses that are drawn. A program without shared libraries is linked so by `-C relocation-model=static`, as
//! `deploy/image` does.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let is_static = features.split(',').any(|feature| feature == "crt-static");
    let is_gnu = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if is("PROFILE", "release") && is_gnu && !is_static {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
