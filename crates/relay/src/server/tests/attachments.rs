use std::fmt::Write as _;

use towline_wire::relay::deployed::UploadAuthorization;

use super::*;

struct Uploader {
    relay: Relay,
    directory: TempDir,
}

impl Uploader {
    async fn new(
        configure: impl FnOnce(AttachmentConfigBuilder) -> AttachmentConfigBuilder,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = configure(AttachmentConfig::builder()).build().unwrap();
        let attachments = Attachments::open(directory.path(), config).unwrap();
        let relay = Relay::with(|builder| builder.attachments(attachments)).await;
        Self { relay, directory }
    }

    async fn authorizations(&self, count: i32) -> Vec<UploadAuthorization> {
        let mut client = self.relay.connect(Dialect::Deployed).await;
        match client.ask(7, Ask::Uploads(count)).await.told {
            Told::Uploads(uploads) => uploads,
            told => panic!("{told:?}"),
        }
    }

    async fn authorization(&self) -> UploadAuthorization {
        self.authorizations(1).await.pop().unwrap()
    }

    /// The head of a form, and its start with these fields, up to where a file begins.
    fn form(upload: &UploadAuthorization, length: usize) -> String {
        let mut body = String::new();
        for (name, value) in &upload.upload_form_data {
            write!(
                body,
                "--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .unwrap();
        }
        body += "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
        let length = body.len() + length + END.len();
        format!(
            "POST /attachments HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }

    /// The status of an upload.
    async fn upload(&self, upload: &UploadAuthorization, file: &str) -> u16 {
        let request = Self::form(upload, file.len()) + file + END;
        status(&self.relay.status(&request).await)
    }

    /// The files that are there, but for the secret.
    fn files(&self) -> usize {
        std::fs::read_dir(self.directory.path()).unwrap().count() - 1
    }

    async fn download(&self, upload: &UploadAuthorization) -> String {
        let path = upload.download_url.split_once("/attachments").unwrap().1;
        self.relay.page(&format!("/attachments{path}")).await
    }
}

const END: &str = "\r\n--x--\r\n";

fn status(line: &str) -> u16 {
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_uploaded_is_found_where_the_authorization_says() {
    let uploader = Uploader::new(|builder| builder).await;
    let upload = uploader.authorization().await;
    let address = uploader.relay.address;
    assert_eq!(upload.upload_url, format!("http://{address}/attachments"));
    assert!(upload.download_url.starts_with(&format!("http://{address}/attachments/")));
    assert_eq!(upload.max_upload_size, 100 << 20);
    assert_eq!(status(&uploader.download(&upload).await), 404);
    let file = "sealed ".repeat(100_000);
    assert_eq!(uploader.upload(&upload, &file).await, 204);
    let answer = uploader.download(&upload).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!((status(head), body == file), (200, true));
    for header in ["content-disposition: attachment", "x-content-type-options: nosniff"] {
        assert!(head.contains(header), "{head}");
    }
    let page = uploader.relay.page("/metrics").await;
    for line in ["towline_relay_uploads_total 1", "towline_relay_attachment_bytes 700000"] {
        assert!(page.lines().any(|it| it == line), "{line} in {page}");
    }
}

#[tokio::test]
async fn an_upload_that_may_not_be_is_refused_and_leaves_nothing() {
    let uploader = Uploader::new(|builder| builder.max_bytes(100).max_space(150)).await;
    let [first, second, third] = &uploader.authorizations(3).await[..] else { panic!() };
    let mut forged = first.clone();
    forged.upload_form_data.insert("expires".into(), u64::MAX.to_string());
    assert_eq!(uploader.upload(&forged, "x").await, 403);
    let mut endless = first.clone();
    endless.upload_form_data.insert("name".into(), "y".repeat(1000));
    assert_eq!(uploader.upload(&endless, "x").await, 400);
    assert_eq!(uploader.upload(first, "").await, 400);
    assert_eq!(uploader.upload(first, &"x".repeat(101)).await, 413);
    assert_eq!(uploader.upload(first, &"x".repeat(70_000)).await, 413);
    assert_eq!(uploader.files(), 0);

    assert_eq!(uploader.upload(first, &"x".repeat(100)).await, 204);
    assert_eq!(uploader.upload(first, "y").await, 409);
    assert_eq!(uploader.upload(second, &"x".repeat(51)).await, 507);
    assert_eq!(uploader.upload(second, &"x".repeat(50)).await, 204);
    assert_eq!(uploader.upload(third, "x").await, 507);
    assert_eq!(uploader.files(), 2);
    assert!(uploader.download(first).await.ends_with(&"x".repeat(100)));

    let mut client = uploader.relay.connect(Dialect::Deployed).await;
    let told = Told::Error("unknown_error".into(), "no more attachments are taken".into());
    assert_eq!(client.ask(7, Ask::Uploads(1)).await.told, told);
}

#[tokio::test]
async fn what_is_no_form_and_what_is_no_name_is_told_so() {
    let uploader = Uploader::new(|builder| builder).await;
    let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    for (request, expected) in [
        (format!("POST /attachments {head}Content-Length: 0\r\n\r\n"), 400),
        (format!("GET /attachments {head}\r\n"), 405),
        (format!("GET /attachments/secret {head}\r\n"), 404),
        (format!("GET /attachments/..%2Frelay.db {head}\r\n"), 404),
        (format!("POST /attachments/{} {head}Content-Length: 0\r\n\r\n", "y".repeat(26)), 405),
    ] {
        assert_eq!(status(&uploader.relay.status(&request).await), expected, "{request}");
    }
    let without = Relay::new().await;
    let request = format!("GET /attachments/{} {head}\r\n", "y".repeat(26));
    assert_eq!(status(&without.status(&request).await), 404);
}

#[tokio::test]
async fn what_is_not_authorized_is_not_kept_in_memory() {
    let uploader = Uploader::new(|builder| builder).await;
    let head = "POST /attachments HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n";
    for start in ["", "--x\r\nX: "] {
        let request = format!("{head}{start}{}", "y".repeat(40_000));
        assert_eq!(status(&uploader.relay.status(&request).await), 413, "{start}");
    }
}

#[tokio::test]
async fn half_an_upload_leaves_nothing() {
    let uploader = Uploader::new(|builder| builder).await;
    let upload = uploader.authorization().await;
    let mut stream = uploader.relay.stream().await;
    let head = Uploader::form(&upload, 2000);
    stream.write_all((head + &"x".repeat(1000)).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), 400, "{answer}");
    assert_eq!(uploader.files(), 0);
    assert_eq!(uploader.upload(&upload, "again").await, 204);
}

#[tokio::test]
async fn an_upload_that_does_not_get_on_is_ended() {
    let uploader = Uploader::new(|builder| builder).await;
    let upload = uploader.authorization().await;
    let mut stream = uploader.relay.stream().await;
    let head = Uploader::form(&upload, 2000);
    stream.write_all((head + &"x".repeat(1000)).as_bytes()).await.unwrap();
    tokio::time::pause();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), 408, "{answer}");
    assert_eq!(uploader.files(), 0);
}

#[tokio::test]
async fn a_part_of_an_attachment_can_be_asked_for() {
    let uploader = Uploader::new(|builder| builder).await;
    let upload = uploader.authorization().await;
    uploader.upload(&upload, "0123456789").await;
    let path = upload.download_url.split_once("/attachments").unwrap().1;
    let request = format!(
        "GET /attachments{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=4-\r\n\r\n"
    );
    let answer = uploader.relay.raw(&request).await;
    assert_eq!(status(&answer), 206);
    assert!(answer.ends_with("\r\n\r\n456789"), "{answer}");
}
