//! The token that whoever looks has to have, if there is one.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

/// The cookie's name, as it stands before its value.
const COOKIE: &str = "passd=";

/// A token, as hashes: comparing those takes the same time whatever is sent.
#[derive(Clone)]
pub struct Token {
    plain: [u8; 32],
    cookie: String,
}

fn hash(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

impl Token {
    pub fn new(token: &str) -> Self {
        let cookie = hash(format!("passd cookie {token}").as_bytes());
        Self { plain: hash(token.as_bytes()), cookie: cookie.iter().map(|b| format!("{b:02x}")).collect() }
    }

    /// What a browser keeps in its stead: the name and value of a cookie.
    pub fn cookie(&self) -> String {
        format!("{COOKIE}{}", self.cookie)
    }

    pub fn is(&self, token: &[u8]) -> bool {
        hash(token) == self.plain
    }

    pub fn is_sent(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
        if let Some(token) = bearer {
            return self.is(token);
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
        let mut ours = cookies.flat_map(|c| c.split(';')).filter_map(|c| c.trim().strip_prefix(COOKIE));
        ours.any(|value| hash(value.as_bytes()) == hash(self.cookie.as_bytes()))
    }
}
