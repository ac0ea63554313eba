//! Connections, bounded: how many, how long a request may take to come, and an answer to be read.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// For the head of a request, the pause before it included.
const HEAD: Duration = Duration::from_secs(5);
/// Largest head.
const MAX_HEAD: usize = 32 << 10;
/// So long an answer may lie unread before its connection is cut.
const UNREAD: Duration = Duration::from_secs(30);
/// After the system had no more connections to give.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves for ever.
pub async fn serve(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::debug!("HTTP: {e}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD));
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
            // What a client does wrong is its own affair.
            if let Err(e) = connection.serve_connection(TokioIo::new(stream), service).await {
                tracing::trace!("HTTP: {e}");
            }
            drop(permit);
        });
    }
}
