use super::*;
use crate::store::tests::Scratch;

/// Installs a program that is its own name.
fn install(env: &Environment) -> Result<PathBuf, InstallError> {
    let program = Path::new(&env.host_root).with_extension("program");
    fs::write(&program, "a program").unwrap();
    install_program(&program, env)
}

fn env(root: &Path) -> Environment {
    Environment::read(|name| (name == "HOST_ROOT").then(|| root.display().to_string())).unwrap()
}

#[test]
fn the_configuration_is_the_recorded_one() {
    let recorded = include_str!("../../../tests/vectors/kubernetes/10-weave.conflist");

    assert_eq!(configuration(true), recorded);
    assert!(configuration(false).contains("\"hairpinMode\": false"));
}

#[test]
fn both_plugins_lead_to_this_program() {
    let scratch = Scratch::new();
    let root = scratch.path("host");

    let directory = install(&env(&root)).unwrap();

    for plugin in ["weave-net", "weave-ipam"] {
        let place = directory.join(plugin);
        assert!(fs::read_link(&place).unwrap().is_relative());
        assert_eq!(fs::read(&place).unwrap(), b"a program");
        let mode = fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
    assert!(root.join("etc/cni/net.d/10-weave.conflist").exists());
    let left: Vec<_> = fs::read_dir(&directory).unwrap().flatten().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn the_configuration_can_be_left_for_later() {
    let scratch = Scratch::new();
    let root = scratch.path("host");
    let file = root.join("etc/cni/net.d/10-weave.conflist");
    let env = Environment {
        config_when_ready: true,
        ..env(&root)
    };

    install(&env).unwrap();
    assert!(!file.exists());
    configure(&env).unwrap();

    assert_eq!(fs::read_to_string(&file).unwrap(), configuration(true));
    let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_an_old_version_left_is_replaced_and_its_configuration_kept() {
    let scratch = Scratch::new();
    let root = scratch.path("host");
    let (bin, etc) = (root.join("opt/cni/bin"), root.join("etc/cni/net.d"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&etc).unwrap();
    fs::write(bin.join("weave-plugin-latest"), "old").unwrap();
    fs::write(bin.join("weave-ipam"), "a plain file").unwrap();
    fs::write(bin.join("bridge"), "another's").unwrap();
    symlink("weave-plugin-latest", bin.join("weave-net")).unwrap();
    fs::write(etc.join("10-weave.conf"), "{}").unwrap();
    fs::write(etc.join("10-weave.conflist"), "kept").unwrap();

    install(&env(&root)).unwrap();
    install(&env(&root)).unwrap();

    assert!(!bin.join("weave-plugin-latest").exists());
    assert!(fs::read_link(bin.join("weave-ipam")).is_ok());
    assert_eq!(fs::read_to_string(bin.join("bridge")).unwrap(), "another's");
    assert!(!etc.join("10-weave.conf").exists());
    let kept = fs::read_to_string(etc.join("10-weave.conflist")).unwrap();
    assert_eq!(kept, "kept");
}

#[test]
fn a_copy_that_was_cut_short_is_replaced() {
    let scratch = Scratch::new();
    let root = scratch.path("host");
    let directory = install(&env(&root)).unwrap();
    let place = fs::canonicalize(directory.join("weave-net")).unwrap();
    fs::write(&place, "half").unwrap();

    install(&env(&root)).unwrap();

    assert_eq!(fs::read(directory.join("weave-net")).unwrap(), b"a program");
}

#[test]
fn where_opt_cannot_be_made_the_other_directory_is_taken() {
    let scratch = Scratch::new();
    let root = scratch.path("host");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("opt"), "no directory").unwrap();

    let directory = install(&env(&root)).unwrap();
    assert_eq!(directory, root.join("home/kubernetes/bin"));
    fs::remove_dir_all(root.join("home")).unwrap();
    fs::write(root.join("home"), "no directory").unwrap();

    assert!(matches!(
        install(&env(&root)),
        Err(InstallError::Directory { .. })
    ));
}

#[test]
fn plugins_that_are_this_program_stay_as_they_are() {
    let scratch = Scratch::new();
    let root = scratch.path("host");
    let bin = root.join("opt/cni/bin");
    fs::create_dir_all(&bin).unwrap();
    for plugin in PLUGINS {
        fs::write(bin.join(plugin), "a program").unwrap();
    }

    install(&env(&root)).unwrap();

    let left: Vec<_> = fs::read_dir(&bin).unwrap().flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
