//! Records: the last message of a subject, changed only from what it was.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use towline_wire::relay::number::{self, Candidate};

use super::failure;
use super::names::Names;
use super::queues::none_if_absent;
use crate::store::{Failure, Limits, NumberError, OneTime, PreKey, RegisterError, Registration};
use crate::{Address, Device, Owner};

/// Tries to change a record that others change as well, each of whom gets on.
const MAX_TRIES: u32 = 200;

/// No short number is longer: with as many fives as can be, it is the number itself.
const MAX_SHORT_LEN: usize = number::LEN;

#[derive(Debug)]
pub(super) struct Records {
    context: Context,
    stream: Stream,
    names: Arc<Names>,
}

/// The prekeys of a device. `None` in its place if it has withdrawn them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct DeviceRecord {
    id: u32,
    signed: Bytes,
    one_time: Vec<Bytes>,
}

/// Devices of an owner that may have a record.
#[derive(Debug, Default, Serialize, Deserialize)]
struct DevicesRecord {
    devices: Vec<Bytes>,
}

/// Whose a number is.
#[derive(Debug, Serialize, Deserialize)]
struct ClaimRecord {
    owner: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
struct NumberRecord {
    number: String,
    short: String,
}

/// Others change a record again and again.
#[derive(Debug, thiserror::Error)]
#[error("a record is changed by others all the time")]
struct Contended;

/// A record is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("a record cannot be read: {0}")]
struct Unreadable(String);

impl Records {
    pub(super) fn new(context: Context, stream: Stream, names: Arc<Names>) -> Self {
        Self { context, stream, names }
    }

    pub(super) async fn register(
        &self,
        address: &Address,
        registration: Registration,
        limits: &Limits,
    ) -> Result<(), RegisterError> {
        let Registration { id, signed, one_time } = registration;
        if one_time.len() as u64 > limits.prekeys() {
            return Err(RegisterError::TooManyPreKeys(limits.prekeys()));
        }
        self.list(address, limits).await?;
        self.change(&self.names.device(address), |record: Option<DeviceRecord>| {
            let mut record = match record {
                Some(record) if record.signed == signed => record,
                _ => DeviceRecord { signed: signed.clone(), ..DeviceRecord::default() },
            };
            record.id = id;
            record.one_time.extend(one_time.iter().cloned());
            if record.one_time.len() as u64 > limits.prekeys() {
                return Err(RegisterError::TooManyPreKeys(limits.prekeys()));
            }
            Ok((Change::To(Some(record)), ()))
        })
        .await?;
        // It may have been withdrawn in between, at another relay.
        self.list(address, limits).await
    }

    /// Puts a device on its owner's list. It counts from then on, be it registered or not.
    async fn list(&self, address: &Address, limits: &Limits) -> Result<(), RegisterError> {
        self.list_up_to(address, limits.devices()).await
    }

    async fn relist(&self, address: &Address) -> Result<(), Failure> {
        self.list_up_to(address, u64::MAX).await.map_err(|error| match error {
            RegisterError::Failure(failure) => failure,
            other => failure(other),
        })
    }

    async fn list_up_to(&self, address: &Address, most: u64) -> Result<(), RegisterError> {
        let device = Bytes::copy_from_slice(address.device.as_bytes());
        self.change(&self.names.devices(&address.owner), |record: Option<DevicesRecord>| {
            let mut record = record.unwrap_or_default();
            if record.devices.contains(&device) {
                return Ok((Change::None, ()));
            }
            if record.devices.len() as u64 >= most {
                return Err(RegisterError::TooManyDevices(most));
            }
            record.devices.push(device.clone());
            Ok((Change::To(Some(record)), ()))
        })
        .await
    }

    pub(super) async fn unregister(&self, address: &Address) -> Result<(), Failure> {
        let subject = self.names.device(address);
        self.change(&subject, |record: Option<DeviceRecord>| {
            let change = if record.is_some() { Change::To(None) } else { Change::None };
            Ok::<_, Failure>((change, ()))
        })
        .await?;
        self.unlist(address).await?;
        // It may have been registered in between, at another relay.
        match self.read::<DeviceRecord>(&subject).await? {
            Some((_, Some(_))) => self.relist(address).await,
            _ => Ok(()),
        }
    }

    async fn unlist(&self, address: &Address) -> Result<(), Failure> {
        let device = Bytes::copy_from_slice(address.device.as_bytes());
        self.change(&self.names.devices(&address.owner), |record: Option<DevicesRecord>| {
            let mut record = record.unwrap_or_default();
            let before = record.devices.len();
            record.devices.retain(|it| *it != device);
            let is_same = record.devices.len() == before;
            let change = if is_same { Change::None } else { Change::To(Some(record)) };
            Ok::<_, Failure>((change, ()))
        })
        .await
    }

    pub(super) async fn prekeys(
        &self,
        owner: &Owner,
        known: &[Device],
        one_time: OneTime,
    ) -> Result<Option<Vec<PreKey>>, Failure> {
        let listed = self.read::<DevicesRecord>(&self.names.devices(owner)).await?;
        let mut keys = None;
        for device in
            listed.map(|(_, record)| record.unwrap_or_default().devices).unwrap_or_default()
        {
            let device = Device::try_from(device).map_err(failure)?;
            let address = Address::new(owner.clone(), device.clone());
            // One that is known has to be looked at as well: without any there is nobody.
            let one_time = if known.contains(&device) { OneTime::Leave } else { one_time };
            let Some(key) = self.prekey(&address, one_time).await? else { continue };
            let keys = keys.get_or_insert_with(Vec::new);
            if !known.contains(&device) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    async fn prekey(
        &self,
        address: &Address,
        one_time: OneTime,
    ) -> Result<Option<PreKey>, Failure> {
        self.change(&self.names.device(address), |record: Option<DeviceRecord>| {
            let Some(mut record) = record else { return Ok((Change::None, None)) };
            let taken = match one_time {
                OneTime::Take => record.one_time.pop(),
                OneTime::Leave => None,
            };
            let key = PreKey {
                device: address.device.clone(),
                registration_id: record.id,
                signed: record.signed.clone(),
                one_time: taken,
            };
            let change =
                if key.one_time.is_some() { Change::To(Some(record)) } else { Change::None };
            Ok((change, Some(key)))
        })
        .await
    }

    pub(super) async fn remaining(&self, address: &Address) -> Result<Option<u64>, Failure> {
        let record = self.read::<DeviceRecord>(&self.names.device(address)).await?;
        Ok(record.and_then(|(_, record)| Some(record?.one_time.len() as u64)))
    }

    /// Claims a candidate's two numbers, and then gives them to the owner: whoever dies between the two leaves claims that
    /// only this owner can make use of.
    pub(super) async fn assign_number(
        &self,
        owner: &Owner,
        candidates: impl Iterator<Item = Candidate> + Send + 'static,
    ) -> Result<Candidate, NumberError> {
        if let Some(number) = self.number(owner).await? {
            return Ok(number);
        }
        for candidate in candidates {
            let is_free = self.claim(&self.names.short(&candidate.short), owner).await?
                && self.claim(&self.names.number(&candidate.number), owner).await?;
            if !is_free {
                continue;
            }
            let Candidate { number, short } = candidate;
            let subject = self.names.number_of(owner);
            return self
                .change(&subject, |record: Option<NumberRecord>| match record {
                    // Somebody with the same key was faster, at another relay.
                    Some(record) => Ok((Change::None, record.into())),
                    None => {
                        let (number, short) = (number.clone(), short.clone());
                        let candidate = Candidate { number: number.clone(), short: short.clone() };
                        Ok((Change::To(Some(NumberRecord { number, short })), candidate))
                    }
                })
                .await;
        }
        Err(NumberError::Taken)
    }

    /// Whether a number is the owner's, from now on if not before.
    async fn claim(&self, subject: &str, owner: &Owner) -> Result<bool, Failure> {
        let owner = Bytes::copy_from_slice(owner.as_bytes());
        self.change(subject, |record: Option<ClaimRecord>| match record {
            Some(record) => Ok((Change::None, record.owner == owner)),
            None => Ok((Change::To(Some(ClaimRecord { owner: owner.clone() })), true)),
        })
        .await
    }

    pub(super) async fn number(&self, owner: &Owner) -> Result<Option<Candidate>, Failure> {
        let record = self.read::<NumberRecord>(&self.names.number_of(owner)).await?;
        Ok(record.and_then(|(_, record)| record).map(Candidate::from))
    }

    pub(super) async fn number_by_short(&self, short: &str) -> Result<Option<Candidate>, Failure> {
        // A subject may not be of any length, and nobody has a number like that.
        if short.len() > MAX_SHORT_LEN {
            return Ok(None);
        }
        let claim = self.read::<ClaimRecord>(&self.names.short(short)).await?;
        let Some((_, Some(ClaimRecord { owner }))) = claim else { return Ok(None) };
        let owner = Owner::try_from(&owner[..]).map_err(failure)?;
        // It may have been claimed, and another one been given.
        Ok(self.number(&owner).await?.filter(|number| number.short == short))
    }

    /// What a record is, and where in the stream it stands; the inner `None` if it was taken away.
    async fn read<T: DeserializeOwned>(
        &self,
        subject: &str,
    ) -> Result<Option<(u64, Option<T>)>, Failure> {
        let found = self.stream.get_last_raw_message_by_subject(subject).await;
        let Some(message) = none_if_absent(found)? else { return Ok(None) };
        if message.payload.is_empty() {
            return Ok(Some((message.sequence, None)));
        }
        let record = ciborium::from_reader(&message.payload[..])
            .map_err(|error| failure(Unreadable(error.to_string())))?;
        Ok(Some((message.sequence, Some(record))))
    }

    /// Changes a record from what it is, as often as others are faster.
    async fn change<T, A, E>(
        &self,
        subject: &str,
        mut decide: impl FnMut(Option<T>) -> Result<(Change<T>, A), E>,
    ) -> Result<A, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Failure>,
    {
        for _ in 0..MAX_TRIES {
            let (at, record) = self.read::<T>(subject).await?.unwrap_or((0, None));
            let (change, answer) = decide(record)?;
            let record = match change {
                Change::None => return Ok(answer),
                Change::To(record) => record,
            };
            if self.write(subject, at, record.as_ref()).await? {
                return Ok(answer);
            }
        }
        Err(failure(Contended).into())
    }

    /// Writes a record in place of the one at `at`, 0 for none; whether it was still that one.
    async fn write(
        &self,
        subject: &str,
        at: u64,
        record: Option<&impl Serialize>,
    ) -> Result<bool, Failure> {
        let mut payload = Vec::new();
        if let Some(record) = record {
            ciborium::into_writer(record, &mut payload)
                .map_err(|error| failure(Unreadable(error.to_string())))?;
        }
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, at.to_string());
        let published = async {
            let answer =
                self.context.publish_with_headers(subject.to_owned(), headers, payload.into());
            answer.await?.await
        };
        match published.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }
}

/// What becomes of a record.
enum Change<T> {
    /// It stays.
    None,
    /// It becomes this one, or is taken away.
    To(Option<T>),
}

impl From<NumberRecord> for Candidate {
    fn from(NumberRecord { number, short }: NumberRecord) -> Self {
        Self { number, short }
    }
}
