//! What a relay counts, as Prometheus reads it.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::connection::{ConnectionStats, Operation};
use crate::dialect::Dialect;

/// Seconds: from a tenth of a millisecond to seconds.
const BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDialect {
    dialect: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name(&'static str);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// There are too many, of all or of this source.
    Full,
    /// The source has too many, or connects too often, and has been told.
    TooMany,
    /// No TLS handshake, or not in time.
    Tls,
}

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    connections: Family<ByDialect, Gauge>,
    opened: Family<ByDialect, Counter>,
    refused: Family<ByReason, Counter>,
    requests: Counter,
    limited: Family<ByOperation, Counter>,
    undecodable: Counter,
    delivered: Counter,
    acknowledged: Counter,
    undeliverable: Counter,
    operations: Family<ByOperation, Histogram>,
    failures: Family<ByOperation, Counter>,
    expired: Counter,
    uploads: Counter,
    attachment_bytes: Gauge,
    forwarded: Counter,
    delayed: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("towline_relay");
        let mut new = Registrar(&mut registry);
        Self {
            connections: new.metric("connections", "WebSockets that are open"),
            opened: new.metric("opened", "WebSockets that were opened"),
            refused: new.metric("refused", "Connections that were not let in"),
            requests: new.metric("requests", "Requests of clients"),
            limited: new.metric("limited", "Requests that came too often"),
            undecodable: new.metric("undecodable", "Messages that were none of the dialect"),
            delivered: new.metric("delivered", "Messages delivered"),
            acknowledged: new.metric("acknowledged", "Messages that were acknowledged"),
            undeliverable: new
                .metric("undeliverable", "Messages that do not fit in the recipient's dialect"),
            operations: new.times("operation", "Time that an operation of the store has taken"),
            failures: new.metric("failures", "Operations in which the store has failed"),
            expired: new.metric("expired", "Messages that were too old, and not kept any more"),
            uploads: new.metric("uploads", "Attachments that were stored"),
            attachment_bytes: new.metric("attachment_bytes", "Bytes that attachments take"),
            forwarded: new.metric("forwarded", "Messages that were handed over to other relays"),
            delayed: new.metric("forward_delays", "Tries to hand messages over that have failed"),
            registry,
        }
    }

    /// All of them, in the format that Prometheus calls OpenMetrics text.
    pub(super) fn encode(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }

    /// A WebSocket is open until what this returns is dropped.
    pub(super) fn open(&self, dialect: Dialect) -> Open {
        let label = ByDialect { dialect: Name(dialect.name()) };
        self.opened.get_or_create(&label).inc();
        let connections = self.connections.get_or_create_owned(&label);
        connections.inc();
        Open(connections)
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        let reason = Name(match refusal {
            Refusal::Full => "full",
            Refusal::TooMany => "too_many",
            Refusal::Tls => "tls",
        });
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    /// Counts what a connection has done since `before`.
    pub(super) fn count(&self, before: &ConnectionStats, now: &ConnectionStats) {
        self.requests.inc_by(now.requests - before.requests);
        self.undecodable.inc_by(now.undecodable - before.undecodable);
        self.delivered.inc_by(now.delivered - before.delivered);
        self.acknowledged.inc_by(now.acknowledged - before.acknowledged);
        self.undeliverable.inc_by(now.undeliverable - before.undeliverable);
    }

    pub(super) fn limit(&self, operation: &'static str) {
        self.limited.get_or_create(&ByOperation { operation: Name(operation) }).inc();
    }

    pub(super) fn operation(&self, operation: &'static str, time: Duration, has_failed: bool) {
        let label = ByOperation { operation: Name(operation) };
        self.operations.get_or_create(&label).observe(time.as_secs_f64());
        if has_failed {
            self.failures.get_or_create(&label).inc();
        }
    }

    pub(super) fn expire(&self, messages: u64) {
        self.expired.inc_by(messages);
    }

    pub(super) fn forward(&self) {
        self.forwarded.inc();
    }

    pub(super) fn delay_forward(&self) {
        self.delayed.inc();
    }

    pub(super) fn upload(&self) {
        self.uploads.inc();
    }

    pub(super) fn attachments(&self, bytes: u64) {
        self.attachment_bytes.set(bytes.try_into().unwrap_or(i64::MAX));
    }
}

struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn metric<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn times(&mut self, name: &str, help: &str) -> Family<ByOperation, Histogram> {
        let family = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> _);
        self.0.register_with_unit(name, help, Unit::Seconds, family.clone());
        family
    }
}

/// Counts a WebSocket as open.
#[derive(Debug)]
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What an operation is called.
pub(super) const fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Register(..) => "register",
        Operation::Unregister(_) => "unregister",
        Operation::PreKeys { .. } => "prekeys",
        Operation::Remaining(_) => "remaining",
        Operation::AssignNumber(_) => "assign_number",
        Operation::NumberOf(_) => "number_of",
        Operation::NumberByShort(_) => "number_by_short",
        Operation::Enqueue { .. } => "enqueue",
        Operation::Fetch { .. } => "fetch",
        Operation::AuthorizeUploads { .. } => "authorize_uploads",
    }
}
