use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn answer_once<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &str) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 1024];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).await.unwrap();
        assert_ne!(count, 0, "the client closes before its request is complete");
        seen.extend_from_slice(&chunk[..count]);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(seen).unwrap()
}

#[test]
fn address_forms_of_the_environment_variable_are_understood() {
    for (given, meant) in [
        ("", "127.0.0.1:6784"),
        ("10.0.0.1", "10.0.0.1:6784"),
        (":7000", "127.0.0.1:7000"),
        ("localhost:1", "localhost:1"),
        ("http://127.0.0.1:6784/", "127.0.0.1:6784"),
        ("::1", "[::1]:6784"),
        ("[::1]:80", "[::1]:80"),
        ("/run/weave.sock", "/run/weave.sock"),
        ("unix:///run/weave.sock", "/run/weave.sock"),
    ] {
        assert_eq!(Client::new(given).address(), meant, "form {given:?}");
    }
}

#[test]
fn a_request_carries_path_and_form_and_returns_status_and_body() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&listener.local_addr().unwrap().to_string());
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            answer_once(
                stream,
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nno.\n",
            )
            .await
        };

        let form = [("peer", "a b"), ("replace", "true")];
        let (answer, seen) = tokio::join!(client.post_form("/connect", &form), server);

        let answer = answer.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (400, "no.\n")
        );
        assert!(!answer.is_success());
        assert!(seen.starts_with("POST /connect HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains("content-length: 23"), "{seen}");
    });
}

#[test]
fn a_unix_socket_serves_as_well() {
    runtime().block_on(async {
        let path = std::env::temp_dir().join(format!("weave-client-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let client = Client::new(path.to_str().unwrap());
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            answer_once(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello").await
        };

        let (answer, _) = tokio::join!(client.get("/status"), server);

        std::fs::remove_file(&path).unwrap();
        assert_eq!(answer.unwrap().body, "hello");
    });
}

#[test]
fn nobody_listening_is_told_with_address_and_reason() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);

        let error = Client::new(&address).get("/status").await.unwrap_err();

        let text = format!("cannot reach weave daemon at {address}: connection refused");
        assert_eq!(error.to_string(), text);
    });
}

#[test]
fn a_silent_daemon_runs_into_the_limit() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = Client::new(&address).with_limit(Duration::from_millis(30));

        let error = client.post("/ip/x").await.unwrap_err();

        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    });
}

#[test]
fn components_are_encoded_for_a_path() {
    assert_eq!(encode_component("weave:expose"), "weave:expose");
    assert_eq!(encode_component("a/b c?"), "a%2Fb%20c%3F");
}
