//! A real API server with its etcd, both ended when dropped. From `KUBE_APISERVER` and `ETCD`, the
//! paths of the two programs; `openssl` makes the key that tokens are signed with.
//!
//! It accepts three tokens: the administrator's, that of our service account, which may do what its
//! roles say, and a stranger's.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ::kube::{Client, Config};
use tokio::time::{Instant, sleep};

use super::ServerError;

/// The two processes and their files.
#[derive(Debug)]
pub struct Real {
    directory: PathBuf,
    etcd: Child,
    server: Option<Child>,
    program: String,
    ports: [u16; 3],
}

impl Real {
    /// Starts both with their files in `directory`, which is made and goes with them; nothing when
    /// the environment does not name them.
    ///
    /// # Errors
    /// Why one of them does not run.
    pub async fn start(directory: &Path) -> Result<Option<Self>, ServerError> {
        let (Ok(program), Ok(etcd)) = (std::env::var("KUBE_APISERVER"), std::env::var("ETCD"))
        else {
            return Ok(None);
        };
        fs::create_dir_all(directory).map_err(ServerError::file(directory))?;
        let ports = [free_port()?, free_port()?, free_port()?];
        write_keys(directory)?;
        let [client, peer, _] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let child = Command::new(&etcd)
            .arg("--data-dir")
            .arg(directory.join("etcd"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ServerError::file(&etcd))?;
        let mut real = Self {
            directory: directory.to_owned(),
            etcd: child,
            server: None,
            program,
            ports,
        };
        real.start_server().await?;
        Ok(Some(real))
    }

    /// Starts the API server and waits until it is ready.
    ///
    /// # Errors
    /// Why it does not run.
    pub async fn start_server(&mut self) -> Result<(), ServerError> {
        let etcd = format!("http://127.0.0.1:{}", self.ports[0]);
        let mut command = command(&self.program, &self.directory, &etcd, self.port())?;
        let child = command.spawn().map_err(ServerError::file(&self.program))?;
        self.server = Some(child);
        let client = self.client(ADMIN)?;
        let end = Instant::now() + READY_LIMIT;
        loop {
            let path = "/api/v1/namespaces/kube-system";
            let request = hyper::http::Request::get(path).body(Vec::new());
            let request = request.map_err(|error| ServerError::Kubernetes(error.to_string()))?;
            match client.request::<serde_json::Value>(request).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= end => {
                    return Err(ServerError::NotReady(READY_LIMIT, error.to_string()));
                }
                Err(_) => sleep(POLL).await,
            }
        }
    }

    /// Kills the API server; etcd goes on.
    pub fn kill_server(&mut self) {
        if let Some(mut child) = self.server.take() {
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }

    /// The port it listens at on the loopback interface.
    pub fn port(&self) -> u16 {
        self.ports[2]
    }

    /// How to reach it as the owner of `token`.
    ///
    /// # Errors
    /// None that are known: the address is made here.
    pub fn config(&self, token: &str) -> Result<Config, ServerError> {
        super::config(&format!("https://127.0.0.1:{}", self.port()), Some(token))
    }

    /// A client for the owner of `token`.
    ///
    /// # Errors
    /// When there is no TLS.
    pub fn client(&self, token: &str) -> Result<Client, ServerError> {
        let client = Client::try_from(self.config(token)?);
        client.map_err(|error| ServerError::Kubernetes(error.to_string()))
    }
}

/// The API server `program` with its files in `directory`, at `port` of the loopback interface, its
/// store at `etcd`: TLS of its own making, tokens of a file, rights by role.
///
/// # Errors
/// Its log cannot be made.
pub fn command(
    program: &str,
    directory: &Path,
    etcd: &str,
    port: u16,
) -> Result<Command, ServerError> {
    let file = |name: &str| directory.join(name).display().to_string();
    let log = directory.join("server.log");
    let log = File::create(&log).map_err(ServerError::file(&log))?;
    let mut command = Command::new(program);
    command
        .arg(format!("--etcd-servers={etcd}"))
        .arg("--service-account-issuer=https://kubernetes")
        .arg(format!("--service-account-key-file={}", file(KEY)))
        .arg(format!("--service-account-signing-key-file={}", file(KEY)))
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        .arg(format!("--secure-port={port}"))
        .arg("--bind-address=127.0.0.1")
        .arg(format!("--cert-dir={}", file("certs")))
        .arg(format!("--token-auth-file={}", file(TOKENS)))
        .arg("--authorization-mode=RBAC")
        // What needs a privileged container is refused otherwise.
        .arg("--allow-privileged=true")
        .arg("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(command)
}

impl Drop for Real {
    fn drop(&mut self) {
        self.kill_server();
        let _ended = self.etcd.kill();
        let _ended = self.etcd.wait();
        let _left = fs::remove_dir_all(&self.directory);
    }
}

/// A key to sign tokens with, and the tokens.
fn write_keys(directory: &Path) -> Result<(), ServerError> {
    let made = Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(directory.join(KEY))
        .arg("2048")
        .stderr(Stdio::null())
        .status()
        .map_err(ServerError::file("openssl"))?;
    if !made.success() {
        return Err(ServerError::Kubernetes("openssl made no key".to_owned()));
    }
    let tokens = format!(
        "{ADMIN},admin,admin,system:masters\n\
         {ACCOUNT},system:serviceaccount:kube-system:weave-net,weave,system:serviceaccounts\n\
         {STRANGER},stranger,stranger\n"
    );
    let file = directory.join(TOKENS);
    fs::write(&file, tokens).map_err(ServerError::file(&file))
}

fn free_port() -> Result<u16, ServerError> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(ServerError::file("127.0.0.1:0"))
}

/// The token of the administrator.
pub const ADMIN: &str = "admintoken";
/// The token of our service account.
pub const ACCOUNT: &str = "weavetoken";
/// The token of somebody who may nothing.
pub const STRANGER: &str = "strangetoken";
const KEY: &str = "sa.key";
const TOKENS: &str = "tokens.csv";
/// On a busy machine it takes a minute.
const READY_LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);
