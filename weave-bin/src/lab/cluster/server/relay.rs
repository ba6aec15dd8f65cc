//! The way of the hosts to their API server: a port on the switch, behind which is the server,
//! wherever it runs. Closing it is the outage that hosts see when a server stops: connections break
//! and new ones are refused.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use weave_datapath::netns::Namespace;

/// The port.
#[derive(Debug)]
pub(in crate::lab::cluster) struct Relay {
    namespace: Namespace,
    address: SocketAddr,
    server: (String, u16),
    task: Option<JoinHandle<()>>,
}

impl Relay {
    /// A port at `address` of `namespace` that leads to `server`, a host and its port; closed.
    pub(in crate::lab::cluster) fn new(
        namespace: Namespace,
        address: SocketAddr,
        server: (String, u16),
    ) -> Self {
        Self {
            namespace,
            address,
            server,
            task: None,
        }
    }

    /// Where the hosts find it.
    pub(in crate::lab::cluster) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets connections through.
    ///
    /// # Errors
    /// What the system says of the port.
    pub(in crate::lab::cluster) fn open(&mut self) -> io::Result<()> {
        let address = self.address;
        let listener = self
            .namespace
            .run(move || TcpListener::bind(address))
            .map_err(io::Error::other)??;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        self.close();
        let server = self.server.clone();
        self.task = Some(tokio::spawn(accept(listener, server)));
        Ok(())
    }

    /// Breaks all connections and refuses new ones.
    pub(in crate::lab::cluster) fn close(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.close();
    }
}

/// Leads every connection to `server`. Those that it leads end with it.
async fn accept(listener: tokio::net::TcpListener, server: (String, u16)) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if connections.len() < MOST => {
                    connections.spawn(lead(client, server.clone()));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Carries bytes both ways until one side ends. A server that is not there ends the connection.
async fn lead(mut client: TcpStream, (host, port): (String, u16)) {
    if let Ok(mut server) = TcpStream::connect((host.as_str(), port)).await {
        let _broken = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

/// Connections at a time: a few of each host.
const MOST: usize = 2048;
/// After a refusal of the kernel, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);
