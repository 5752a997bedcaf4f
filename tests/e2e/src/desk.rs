//! `pgalert desk` as a process, and somebody who asks it by HTTP.

use std::{process::Command, time::Duration};

use axum::http::{header, HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{connect::HttpConnector, Client},
    rt::TokioExecutor,
};
use url::form_urlencoded;

use crate::{driver::pgalert_at, tools::until, Database, Driver};

const LIMIT: Duration = Duration::from_secs(30);

pub struct Desk {
    pub driver: Driver,
    /// host:port.
    pub address: String,
}

impl Desk {
    /// As the role `clerk`, with further settings.
    pub async fn start(database: &Database, settings: &[(&str, &str)]) -> Desk {
        Self::run(desk_command(database).envs(settings.iter().copied())).await
    }

    pub async fn run(command: &mut Command) -> Desk {
        let driver = Driver::start(command);
        let address = until("the desk listens", LIMIT, async || {
            let log = driver.log();
            let line = log.split("the desk is at http://").nth(1).map(str::to_owned);
            line.and_then(|line| Some(line.split_once('/')?.0.to_owned())).ok_or(log)
        })
        .await;
        Desk { driver, address }
    }

    pub fn visitor(&self) -> Visitor {
        Visitor { address: self.address.clone(), headers: HeaderMap::new() }
    }

    /// Somebody who has signed in.
    pub async fn signed_in(&self, name: &str, token: &str) -> Visitor {
        let mut visitor = self.visitor();
        let answer = visitor.sign_in(name, token).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        visitor.keep_cookie(&answer);
        visitor
    }
}

/// `pgalert desk` on a free port.
pub fn desk_command(database: &Database) -> Command {
    let mut command = pgalert_at("desk", &database.url("clerk"));
    command.env("PGALERT_DESK_LISTEN", "127.0.0.1:0");
    command
}

#[derive(Clone)]
pub struct Visitor {
    address: String,
    /// Of each request; a Host of these comes before the real one.
    pub headers: HeaderMap,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The signature that the forms of this page carry.
    pub fn csrf(&self) -> &str {
        let rest = self.body.split(r#"name="csrf" value=""#).nth(1);
        rest.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("no form: {self:?}"))
    }
}

impl Visitor {
    pub fn with(mut self, name: &'static str, value: &str) -> Visitor {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub fn keep_cookie(&mut self, answer: &Answer) {
        let cookie = answer.header("set-cookie").split(';').next().unwrap();
        self.headers.insert(header::COOKIE, cookie.parse().unwrap());
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, String::new()).await
    }

    /// A form as it is given.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.ask("POST", path, body).await
    }

    /// A form of one of this visitor's pages.
    pub async fn act(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get("/letters").await;
        let mut fields = fields.to_vec();
        let csrf = page.csrf().to_owned();
        fields.push(("csrf", &csrf));
        self.post(path, &fields).await
    }

    pub async fn sign_in(&self, name: &str, token: &str) -> Answer {
        let page = self.get("/sign-in").await;
        let fields = [("name", name), ("token", token), ("csrf", page.csrf())];
        self.post("/sign-in", &fields).await
    }

    async fn ask(&self, method: &str, path: &str, body: String) -> Answer {
        let client: Client<HttpConnector, String> =
            Client::builder(TokioExecutor::new()).build_http();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .body(body)
            .unwrap();
        request.headers_mut().extend(self.headers.clone());
        let response = client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}
