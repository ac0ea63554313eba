//! Connections, bounded: how many in all and from one address, how long a request may take to come, and an answer to be
//! read. Probes are answered however many others want something.
//!
//! A connection that has asked for nothing yet is cheap: where there are too many, the oldest of the address with the
//! most goes. One that has asked for more than a probe takes a place, of which there are a few for each address.

use axum::Router;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

/// Places in all, and for one address.
const PLACES: usize = 128;
const PLACES_OF_ONE: usize = 48;
/// Connections that may be open beside them, asking for nothing.
const MAX_IDLE: usize = 128;
/// For the head of a request, the pause before it included.
const HEAD: Duration = Duration::from_secs(5);
/// Largest head.
const MAX_HEAD: usize = 32 << 10;
/// So long an answer may lie unread before its connection is cut.
const UNREAD: Duration = Duration::from_secs(30);
/// After the system had no more connections to give.
const PAUSE: Duration = Duration::from_millis(200);
/// What is answered without a place.
const PROBES: [&str; 3] = ["/live", "/ready", "/startup"];

/// Open connections.
#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Open>,
}

struct Open {
    from: IpAddr,
    /// It is being answered, or has a place: it is not closed for others.
    stays: Arc<AtomicBool>,
    has_place: bool,
    task: Option<AbortHandle>,
}

impl Table {
    fn n_places(&self, from: Option<IpAddr>) -> usize {
        self.open.values().filter(|o| o.has_place && from.is_none_or(|from| o.from == from)).count()
    }

    /// Gives a connection a place; false: there is none.
    fn take_place(&mut self, id: u64) -> bool {
        let Some(from) = self.open.get(&id).filter(|o| !o.has_place).map(|o| o.from) else { return true };
        let is_room = self.n_places(None) < PLACES && self.n_places(Some(from)) < PLACES_OF_ONE;
        if is_room && let Some(open) = self.open.get_mut(&id) {
            open.has_place = true;
        }
        is_room
    }

    /// The connection that goes where there are too many.
    fn surplus(&self) -> Option<u64> {
        let idle = || self.open.iter().filter(|(_, o)| !o.has_place && !o.stays.load(Ordering::Acquire));
        if idle().count() <= MAX_IDLE {
            return None;
        }
        let mut n_of: HashMap<IpAddr, usize> = HashMap::new();
        idle().for_each(|(_, o)| *n_of.entry(o.from).or_default() += 1);
        let (greediest, _) = n_of.into_iter().max_by_key(|(_, n)| *n)?;
        idle().filter(|(_, o)| o.from == greediest).map(|(id, _)| *id).min()
    }
}

#[derive(Clone, Default)]
struct Connections(Arc<Mutex<Table>>);

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a connection off the table when it ends, however it does.
struct Entry {
    connections: Connections,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, router: Router) {
    let connections = Connections::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::debug!("HTTP: {e}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD));
        let stays = Arc::new(AtomicBool::new(false));
        let id = {
            let mut table = connections.lock();
            let id = table.next;
            table.next += 1;
            table.open.insert(id, Open { from: peer.ip(), stays: stays.clone(), has_place: false, task: None });
            id
        };
        let entry = Entry { connections: connections.clone(), id };
        let (table, router) = (connections.clone(), router.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            answer(table.clone(), id, stays.clone(), router.clone(), request)
        });
        let task = tokio::spawn(async move {
            let _entry = entry;
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
            // What a client does wrong is its own affair.
            if let Err(e) = connection.serve_connection(TokioIo::new(stream), service).await {
                tracing::trace!("HTTP: {e}");
            }
        });
        let mut table = connections.lock();
        if let Some(open) = table.open.get_mut(&id) {
            open.task = Some(task.abort_handle());
        }
        while let Some(surplus) = table.surplus() {
            // Its entry would wait for the lock that is held here.
            if let Some(task) = table.open.remove(&surplus).and_then(|o| o.task) {
                task.abort();
            }
        }
    }
}

async fn answer(
    connections: Connections,
    id: u64,
    stays: Arc<AtomicBool>,
    router: Router,
    request: Request<Incoming>,
) -> Result<Response, std::convert::Infallible> {
    stays.store(true, Ordering::Release);
    let is_probe = PROBES.contains(&request.uri().path());
    let has_place = is_probe || connections.lock().take_place(id);
    let response = match has_place {
        true => TowerToHyperService::new(router).call(request).await.unwrap_or_else(|never| match never {}),
        false => {
            let words = "too many connections; close some, or try again";
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1"), ("connection", "close")], words).into_response()
        }
    };
    stays.store(false, Ordering::Release);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_no_more_than_its_share() {
        let (greedy, modest): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut table = Table::default();
        let open = |table: &mut Table, from| {
            let id = table.next;
            table.next += 1;
            table.open.insert(id, Open { from, stays: Arc::default(), has_place: false, task: None });
            id
        };
        let modest_ids: Vec<u64> = (0..3).map(|_| open(&mut table, modest)).collect();
        let ids: Vec<u64> = (0..MAX_IDLE + 50).map(|_| open(&mut table, greedy)).collect();
        let mut gone = Vec::new();
        while let Some(id) = table.surplus() {
            table.open.remove(&id);
            gone.push(id);
        }
        assert_eq!(gone, ids[..gone.len()], "the oldest of the greediest");
        assert_eq!(table.open.len(), MAX_IDLE);
        let taken = ids[gone.len()..].iter().filter(|id| table.take_place(**id)).count();
        assert_eq!(taken, PLACES_OF_ONE);
        assert!(modest_ids.iter().all(|id| table.take_place(*id)), "there is room for others");
        assert!(table.take_place(modest_ids[0]), "who has one keeps it");
    }
}
