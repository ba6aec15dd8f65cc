//! How a real API server is called in tests: TLS of its own making, one token, rights by role.

use std::path::Path;
use std::process::{Command, Stdio};

/// The API server `program` with its files in `directory`, at `port` of the loopback interface, its
/// store at `etcd`.
pub(crate) fn command(program: &str, directory: &Path, etcd: &str, port: u16) -> Command {
    let file = |name: &str| directory.join(name).display().to_string();
    let log = std::fs::File::create(file("server.log")).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--etcd-servers={etcd}"))
        .arg("--service-account-issuer=https://kubernetes")
        .arg(format!("--service-account-key-file={}", file("sa.key")))
        .arg(format!(
            "--service-account-signing-key-file={}",
            file("sa.key")
        ))
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        .arg(format!("--secure-port={port}"))
        .arg("--bind-address=127.0.0.1")
        .arg(format!("--cert-dir={}", file("certs")))
        .arg(format!("--token-auth-file={}", file("tokens.csv")))
        .arg("--authorization-mode=RBAC")
        // What needs a privileged container is refused otherwise.
        .arg("--allow-privileged=true")
        .arg("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
        .stdout(Stdio::null())
        .stderr(log);
    command
}
