//! A real API server with its etcd, gone when dropped. From `KUBE_APISERVER` and `ETCD`, the paths
//! of the two programs.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::kube::{Client, Config};

use crate::server;

/// The two processes and their files.
pub(crate) struct Real {
    directory: PathBuf,
    etcd: Child,
    server: Option<Child>,
    programs: (String, String),
    ports: [u16; 3],
}

impl Real {
    /// Starts both; nothing when the environment does not name them.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        let (Ok(program), Ok(etcd)) = (std::env::var("KUBE_APISERVER"), std::env::var("ETCD"))
        else {
            println!("skipped: needs KUBE_APISERVER and ETCD");
            return None;
        };
        let directory =
            std::env::temp_dir().join(format!("weave-kube-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let ports = [0; 3].map(|_| free_port());
        write_keys(&directory);
        let client = format!("http://127.0.0.1:{}", ports[0]);
        let child = Command::new(&etcd)
            .arg("--data-dir")
            .arg(directory.join("etcd"))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &format!("http://127.0.0.1:{}", ports[1]),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut real = Self {
            directory,
            etcd: child,
            server: None,
            programs: (program, client),
            ports,
        };
        real.start_server().await;
        Some(real)
    }

    /// Starts the API server and waits until it is ready.
    pub(crate) async fn start_server(&mut self) {
        let (program, etcd) = &self.programs;
        let mut command = server::command(program, &self.directory, etcd, self.ports[2]);
        let child = command.spawn().unwrap();
        self.server = Some(child);
        let client = self.client("admintoken");
        let end = Instant::now() + Duration::from_secs(180);
        loop {
            let request =
                hyper::http::Request::get("/api/v1/namespaces/kube-system").body(Vec::new());
            if client
                .request::<serde_json::Value>(request.unwrap())
                .await
                .is_ok()
            {
                return;
            }
            assert!(Instant::now() < end, "the API server does not become ready");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Kills the API server.
    pub(crate) fn kill_server(&mut self) {
        if let Some(mut child) = self.server.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// How to reach it as the owner of `token`.
    pub(crate) fn config(&self, token: &str) -> Config {
        let url = format!("https://127.0.0.1:{}", self.ports[2]);
        let mut config = Config::new(url.parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(token.to_owned().into());
        config
    }

    /// A client for the owner of `token`.
    pub(crate) fn client(&self, token: &str) -> Client {
        Client::try_from(self.config(token)).unwrap()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.kill_server();
        let _ended = self.etcd.kill();
        let _ended = self.etcd.wait();
        let _left = std::fs::remove_dir_all(&self.directory);
    }
}

/// A key to sign tokens with, and two tokens: the administrator's and our account's.
fn write_keys(directory: &Path) {
    let made = Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(directory.join("sa.key"))
        .arg("2048")
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "openssl made no key");
    let tokens = "admintoken,admin,admin,system:masters\n\
        weavetoken,system:serviceaccount:kube-system:weave-net,weave,system:serviceaccounts\n\
        strangetoken,stranger,stranger\n";
    std::fs::write(directory.join("tokens.csv"), tokens).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
