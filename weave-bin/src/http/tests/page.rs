//! The status page as browsers get it, on both addresses.

use super::*;

#[test]
fn the_page_is_on_control_and_status_and_forbids_what_it_does_not_need() {
    run(async {
        let scratch = Scratch::new();
        let socket = scratch.path("status.sock");
        let flag = format!("--status-addr={}", socket.display());
        let host = Host::start(&scratch, 1, &[&flag]).await;

        let page = ask(&host.address, "GET", "/", None).await;
        let again = ask(&host.address, "GET", "/?refresh=10", None).await;
        let wrong = ask(&host.address, "GET", "/?refresh=0", None).await;
        let status = Client::new(socket.to_str().unwrap());
        let status = status.get("/").await.unwrap();

        assert_eq!(page.status, 200);
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("refresh"), None);
        assert_eq!(again.header("refresh"), Some("10"));
        assert_eq!(wrong.status, 400);
        for body in [&page.body, &status.body] {
            assert!(
                body.starts_with("<!DOCTYPE html>") && body.contains("host-0"),
                "{body}"
            );
            assert!(body.contains("No policy controller is expected"), "{body}");
        }
    });
}

#[test]
fn events_are_a_list() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, &[]).await;

        let events = host.client().get("/events").await.unwrap();

        let events: Vec<crate::status::events::Event> = serde_json::from_str(&events.body).unwrap();
        assert!(events.len() <= crate::status::events::MOST);
    });
}

#[test]
fn blocked_connections_are_kept_from_addresses_that_others_reach() {
    run(async {
        let scratch = Scratch::new();
        let words = ["--expect-npc", "--status-addr=0.0.0.0:0"];
        let settings = |address: &str| ListenAddress::parse(address).unwrap().unwrap();
        assert!(!settings("0.0.0.0:1").is_private() && settings("127.0.0.1:1").is_private());
        assert!(settings("/run/x").is_private() && !settings("[::]:1").is_private());
        let host = Host::start(&scratch, 1, &words).await;

        let own = host.client().get("/").await.unwrap();

        // Whether a controller runs on this machine is not for this test to say.
        let is_told = own.body.contains("policy controller does not answer")
            || own.body.contains("in the last hour");
        assert!(is_told, "{}", own.body);
    });
}
