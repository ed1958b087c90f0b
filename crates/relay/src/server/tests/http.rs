use super::*;

/// The head of a request that opens a WebSocket, but for some headers.
fn upgrade(path: &str, without: &str, more: &str) -> String {
    let mut head = format!("GET {path} HTTP/1.1\r\n");
    for header in [
        "Host: relay.example",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        if header.split(':').next() != Some(without) {
            head += &format!("{header}\r\n");
        }
    }
    head + more + "\r\n"
}

#[tokio::test]
async fn what_does_not_open_a_websocket_is_told_why() {
    let relay = Relay::new().await;
    for (request, status) in [
        (upgrade("/api", "Connection", ""), 426),
        (upgrade("/api", "Upgrade", ""), 426),
        (upgrade("/api", "Sec-WebSocket-Version", ""), 400),
        (upgrade("/api", "Sec-WebSocket-Key", ""), 400),
        (upgrade("/api", "Origin", "Origin: http://evil.example\r\n"), 403),
        (upgrade("/api/", "", ""), 404),
        (upgrade("/api?x", "", ""), 404),
        (upgrade("/v0/api?", "", ""), 404),
        (upgrade("/other", "", ""), 404),
        ("POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".into(), 405),
        ("nonsense\r\n\r\n".into(), 400),
        (format!("GET /api HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)), 431),
    ] {
        let answer = relay.status(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
}

#[tokio::test]
async fn what_would_open_a_websocket_is_told_as_well() {
    let relay = Relay::new().await;
    let close = "Connection: close\r\n";
    let answer = relay.raw(&upgrade("/api", "Connection", close)).await;
    assert!(answer.contains("\r\nupgrade: websocket\r\n"), "{answer}");
    let more = "Sec-WebSocket-Version: 8\r\nX: ";
    let answer =
        relay.raw(&upgrade("/api", "Sec-WebSocket-Version", &format!("{more}\r\n{close}"))).await;
    assert!(answer.contains("\r\nsec-websocket-version: 13\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_get_on_with_a_request_is_cut_off() {
    let relay = Relay::new().await;
    assert_eq!(relay.raw("GET /api HTTP/1.1\r\nHo").await, "");
    assert_eq!(relay.raw("").await, "");
}

#[tokio::test]
async fn health_and_readiness_can_be_asked() {
    let relay = Relay::new().await;
    assert!(relay.page("/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(relay.page("/readyz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let relay = Relay::new().await;
    let mut alice = relay.log_in(Dialect::Seed, ALICE).await;
    let mut bob = relay.connect(Dialect::Seed).await;
    bob.ask(7, Ask::Send(ALICE, b"sealed")).await;
    let (sequence, _) = alice.hear_message().await;
    alice.say(sequence, Ask::Acknowledge).await;
    alice.ask(8, Ask::Unregister).await;
    bob.socket.close(None).await.unwrap();
    while bob.socket.next().await.is_some() {}

    let page = relay.page("/metrics").await;
    for line in [
        "towline_relay_connections{dialect=\"seed\"} ",
        "towline_relay_opened_total{dialect=\"seed\"} 2",
        "towline_relay_requests_total 3",
        "towline_relay_delivered_total 1",
        "towline_relay_acknowledged_total 1",
        "towline_relay_operation_seconds_count{operation=\"enqueue\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    assert!(page.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_path_of_the_seed_dialect_can_be_chosen() {
    let relay = Relay::with(|builder| builder.seed_path("/elsewhere")).await;
    let answer = relay.status(&upgrade("/v0/api", "", "")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "));
    let url = "ws://relay.example/elsewhere";
    let (mut socket, _) = tokio_tungstenite::client_async(url, relay.stream().await).await.unwrap();
    let Message::Binary(frame) = socket.next().await.unwrap().unwrap() else { panic!() };
    assert!(matches!(heard(Dialect::Seed, frame).told, Told::Challenge(_)));
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    let second = Duration::from_secs(1);
    for (field, change) in [
        ("max_age", (|it| it.max_age(Duration::ZERO)) as fn(ServerBuilder<_>) -> _),
        ("write_timeout", |it| it.write_timeout(Duration::ZERO)),
        ("drain_timeout", |it| it.drain_timeout(Duration::from_secs(3601))),
        ("path", |it| it.seed_path("/api")),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let config = sqlite::Config::builder().build().unwrap();
        let store = Sqlite::open(directory.path().join("relay.db"), &config).unwrap();
        let error = change(Server::builder(store).drain_timeout(second))
            .bind(([127, 0, 0, 1], 0).into())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
}
