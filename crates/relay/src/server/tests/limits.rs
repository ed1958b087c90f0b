use super::*;

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

async fn relay(limits: LimitsBuilder) -> Relay {
    let limits = limits.build().unwrap();
    Relay::with(|builder| builder.limits(limits)).await
}

/// The status with which a WebSocket is refused.
async fn refusal(relay: &Relay) -> u16 {
    match Client::new(relay.stream().await, Dialect::Seed).await {
        Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is not refused"),
    }
}

#[tokio::test]
async fn a_source_may_have_so_many_connections() {
    let relay = relay(Limits::builder().connections_per_source(1)).await;
    let mut first = relay.connect(Dialect::Seed).await;
    assert_eq!(refusal(&relay).await, 429);
    assert_eq!(first.ask(1, Ask::Send(ALICE, b"sealed")).await.told, Told::Ack);
}

#[tokio::test]
async fn a_source_may_connect_so_often() {
    let relay = relay(Limits::builder().connecting(rate("1/h"))).await;
    let first = relay.connect(Dialect::Seed).await;
    assert_eq!(refusal(&relay).await, 429);
    drop(first);
    assert_eq!(refusal(&relay).await, 429);
    assert!(relay.page("/metrics").await.contains("refused_total{reason=\"too_many\"} 2"));
}

#[tokio::test]
async fn a_connection_may_send_so_often_and_is_told_when_it_is_too_often() {
    for dialect in DIALECTS {
        let relay = relay(Limits::builder().messages(rate("2/h"))).await;
        let mut bob = relay.connect(dialect).await;
        bob.ask(1, Ask::Send(ALICE, b"first")).await;
        bob.ask(2, Ask::Send(ALICE, b"second")).await;
        let text = "too many requests: try again later";
        let limited = Told::Error("unknown_error".into(), text.into());
        assert_eq!(bob.ask(3, Ask::Send(ALICE, b"third")).await.told, limited);
        assert!(relay.page("/metrics").await.contains("limited_total{operation=\"enqueue\"} 1"));

        let mut alice = relay.log_in(dialect, ALICE).await;
        assert_eq!(alice.hear_message().await.1, "first");
        assert_eq!(alice.hear_message().await.1, "second");
        relay.connect(dialect).await.ask(1, Ask::Send(ALICE, b"from another")).await;
        assert_eq!(alice.hear_message().await.1, "from another");
    }
}

#[tokio::test]
async fn nobody_can_drain_the_one_time_prekeys() {
    let relay = relay(Limits::builder().one_time_prekeys(rate("1/h"))).await;
    let mut alice = relay.log_in(Dialect::Deployed, ALICE).await;
    let one_time = [Bytes::from("one"), Bytes::from("two")];
    assert_eq!(alice.ask(1, Ask::Register(b"signed", &one_time)).await.told, Told::Ack);
    for one_time in ["two", ""] {
        let mut somebody = relay.connect(Dialect::Deployed).await;
        let keys = Told::PreKeys(vec![("signed".into(), one_time.into())]);
        assert_eq!(somebody.ask(1, Ask::PreKeys(ALICE)).await.told, keys);
    }
}
