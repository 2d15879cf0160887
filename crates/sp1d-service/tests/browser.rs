//! Tests of the status page in headless Chromium, with fake workers and a fake runner.

use sp1d_client::{Client, ClientSettings, NewProof, ProofEvent, ProofState};
use sp1d_machine::{FoundGpus, GpuDriver, GpuFault, GpuLibrary, GpuReading};
use sp1d_model::TaskKind;
use sp1d_service::{NewApiToken, Service, ServiceSettings, TokenStore, serve};
use sp1d_testing::{FakeEngine, FakeRunner, RunningWorker, do_honestly, fake_build, ready};
use sp1d_worker::{GpuMonitor, ProvingEngine};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::net::TcpListener;

mod running;
mod webdriver;

use webdriver::Browser;

/// Short, so that a stopped worker counts as disconnected quickly.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Starts a service with its HTTP API, and returns it with its URL and a client.
async fn start(folder: &Path, workers: &[SocketAddr], heartbeat: Duration) -> (Service, String, Client) {
    let (service, address) =
        running::start(folder, workers, |settings| settings.orchestrator.heartbeat = heartbeat).await;
    let url = format!("http://{address}");
    let client = Client::new(&url).unwrap();
    (service, url, client)
}

async fn submit(client: &Client, shards: u64) -> String {
    let program = client.add_program("program".into()).await.unwrap();
    let request = NewProof { program: Some(program.id), cycle_limit: Some(shards), ..NewProof::default() };
    client.submit(&request).await.unwrap().id
}

/// Creates a token and returns its text.
fn create_token(folder: &Path, name: &str, tenant: &str, roles: &str) -> String {
    let new = NewApiToken {
        name: name.parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        roles: roles.parse().unwrap(),
        valid: Duration::from_secs(3600),
    };
    TokenStore::open(&folder.join("state")).unwrap().create(&new).unwrap().to_string()
}

/// Logs in with `token` on the open page, and waits until the page knows the roles of the token.
async fn log_in(browser: &Browser, token: &str) {
    browser.wait_for(&is_visible("login")).await;
    browser.value(&format!("document.querySelector('#token').value = '{token}'")).await;
    browser.click("#login-form button").await;
    browser.wait_for(&is_visible("logout")).await;
}

/// Returns a JavaScript expression that is true if the element `id` is visible.
fn is_visible(id: &str) -> String {
    format!("document.querySelector('#{id}').checkVisibility()")
}

fn taking(time: Duration) -> Arc<dyn ProvingEngine> {
    FakeEngine::doing(move |assignment, io| async move {
        tokio::time::sleep(time).await;
        do_honestly(&assignment, &*io).await
    })
}

/// Returns a JavaScript expression for the first row of `table` that contains `text`.
fn row(table: &str, text: &str) -> String {
    format!("[...document.querySelectorAll('#{table} tr')].find((row) => row.innerText.includes('{text}'))")
}

/// Returns the milliseconds from the request of the page to its first paint. The text of the page can be there before.
async fn first_paint(browser: &Browser) -> f64 {
    browser.wait_for("performance.getEntriesByType('paint').length > 0").await;
    browser.value("performance.getEntriesByType('paint')[0].startTime").await.as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_follows_a_proof_and_shows_a_disconnected_worker_in_red() {
    let folder = tempfile::tempdir().unwrap();
    let (fast, slow) = (
        RunningWorker::ready("fast", taking(Duration::from_millis(300))).await,
        RunningWorker::ready("slow", taking(Duration::from_millis(900))).await,
    );
    let (service, url, client) = start(folder.path(), &[fast.address, slow.address], HEARTBEAT).await;
    let browser = Browser::start(1280, 900).await;
    // The least of three times is that of the page. The others contain the start of the browser and other work of the
    // machine.
    let mut paint = f64::INFINITY;
    for _ in 0..3 {
        browser.open(&url).await;
        browser.wait_for("document.querySelector('#summary').innerText.includes('2 workers, 2 ready')").await;
        paint = paint.min(first_paint(&browser).await);
    }
    assert!(paint < 500.0, "first paint after {paint} ms");

    let id = submit(&client, 12).await;
    browser.wait_for(&format!("{}?.innerText.includes('running')", row("proofs", &id))).await;
    browser.wait_for(&format!("{}.querySelector('progress')?.value > 1", row("proofs", &id))).await;
    browser.picture("running").await;
    browser.click(&format!("a[href='#/proofs/{id}']")).await;
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('running')").await;
    browser.wait_for("document.querySelectorAll('#events li').length > 12").await;
    browser.picture("timeline").await;

    slow.stop().await;
    browser
        .wait_for("document.querySelector('#events li.failed')?.innerText.includes('worker slow disconnected')")
        .await;
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('done')").await;
    browser.wait_for(&is_visible("fetch")).await;
    browser.wait_for("document.querySelector('#facts').innerText.includes('12 of 12 done')").await;
    let drawn = "document.querySelector('#timeline').getAttribute('aria-label').includes('2 workers')";
    browser.wait_for(drawn).await;
    // The keyboard selects an attempt in the timeline.
    browser.value("document.querySelector('#timeline').focus()").await;
    browser
        .value("document.querySelector('#timeline').dispatchEvent(new KeyboardEvent('keydown', { key: 'Home' }))")
        .await;
    browser
        .wait_for(&format!("document.querySelector('#pointed').innerText.includes('{}')", TaskKind::ProveShard))
        .await;
    browser.picture("done").await;

    browser.open(&url).await;
    let disconnected = row("workers", "slow");
    browser.wait_for(&format!("{disconnected}?.querySelector('.state')?.innerText.includes('disconnected')")).await;
    let color = |selector: &str| format!("getComputedStyle({selector}).color");
    let red = browser.value(&color(&format!("{disconnected}.querySelector('.state')"))).await;
    let good = browser.value(&color(&format!("{}.querySelector('.state')", row("workers", "fast")))).await;
    assert_eq!(red, "rgb(179, 38, 30)");
    assert_ne!(red, good);
    browser.picture("disconnected").await;
    browser.close().await;
    service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_cancels_a_proof_and_reports_an_unknown_one() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::doing(|_, _| std::future::pending())).await;
    let (service, url, client) = start(folder.path(), &[worker.address], HEARTBEAT).await;
    let id = submit(&client, 3).await;
    // The width of a phone.
    let browser = Browser::start(390, 800).await;
    browser.open(&format!("{url}/#/proofs/{id}")).await;
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('running')").await;
    // The worker holds two of the three tasks.
    let waiting = "document.querySelector('#detail-waiting')";
    browser
        .wait_for(&format!(
            "{waiting}.innerText.includes('1 task waits: every available worker for prove_shard is full')"
        ))
        .await;
    let is_wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
    assert_eq!(browser.value(is_wider).await, false, "the page is wider than its window");
    assert_eq!(browser.value(&is_visible("delete")).await, false, "a running proof cannot be deleted");
    browser.click("#cancel").await;
    browser.accept().await;
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('cancelled')").await;
    browser.wait_for("!document.querySelector('#cancel').checkVisibility()").await;
    browser.wait_for(&is_visible("delete")).await;
    browser.wait_for(&format!("!{waiting}.checkVisibility()")).await;
    assert_eq!(client.proof(&id).await.unwrap().state, ProofState::Cancelled);
    browser.picture("cancelled").await;
    // The page reports a proof that does not exist.
    browser.open(&format!("{url}/#/proofs/000000000000")).await;
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('there is no proof')").await;
    browser.close().await;
    service.shutdown().await;
}

/// Browsers open at most six connections to a server.
#[tokio::test(flavor = "multi_thread")]
async fn ten_tabs_of_running_proofs_show_events_and_the_overview() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::doing(|_, _| std::future::pending())).await;
    let (service, url, client) = start(folder.path(), &[worker.address], HEARTBEAT).await;
    let id = submit(&client, 3).await;
    let browser = Browser::start(1280, 900).await;
    for _ in 0..10 {
        browser.open_tab(&format!("{url}/#/proofs/{id}")).await;
        browser.wait_for("document.querySelector('#detail-title').innerText.includes('running')").await;
        browser.wait_for("document.querySelectorAll('#events li').length > 3").await;
        browser.wait_for("document.querySelector('#summary').innerText.includes('1 worker, 1 ready')").await;
    }
    browser.close().await;
    service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_says_why_an_action_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::doing(|_, _| std::future::pending())).await;
    let (service, url, client) = start(folder.path(), &[worker.address], HEARTBEAT).await;
    let id = submit(&client, 3).await;
    let browser = Browser::start(1280, 900).await;
    browser.open(&format!("{url}/#/proofs/{id}")).await;
    browser.wait_for(&is_visible("cancel")).await;
    // The service stops, and another server with no such proof takes its port.
    service.shutdown().await;
    let listener = TcpListener::bind(url.trim_start_matches("http://")).await.unwrap();
    let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
    let settings = ServiceSettings::new(folder.path().join("other"), orchestrator, "{}".into());
    let other = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
    tokio::spawn(serve(other.clone(), listener));
    browser.click("#cancel").await;
    browser.accept().await;
    browser.wait_for(&format!("document.querySelector('#refused').innerText.includes('{id}')")).await;
    browser.close().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_logs_in_with_a_token_and_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let (service, url, client) = start(folder.path(), &[], HEARTBEAT).await;
    let id = submit(&client, 1).await;
    let token = create_token(folder.path(), "one", "default", "read,submit");
    let browser = Browser::start(1280, 900).await;
    browser.open(&format!("{url}/#/proofs/{id}")).await;
    browser.wait_for(&is_visible("login")).await;
    assert!(!browser.value(&is_visible("detail")).await.as_bool().unwrap());
    browser.value("document.querySelector('#token').value = 'sp1d_wrong'").await;
    browser.click("#login-form button").await;
    browser.wait_for("document.querySelector('#login-refused').innerText.includes('not valid')").await;
    log_in(&browser, &token).await;
    browser.wait_for(&format!("document.querySelector('#facts').innerText && document.querySelector('#detail-title').innerText.includes('{id}')")).await;
    assert_eq!(browser.value("document.cookie").await, "", "scripts cannot read the cookie");
    // The cookie permits changes too.
    browser.click("#cancel").await;
    browser.accept().await;
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('cancelled')").await;
    browser.click("#logout").await;
    browser.wait_for(&is_visible("login")).await;
    browser.close().await;
    service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_deletes_an_ended_proof_after_a_confirmation() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let (service, url, client) = start(folder.path(), &[worker.address], HEARTBEAT).await;
    let id = submit(&client, 3).await;
    let browser = Browser::start(1280, 900).await;
    browser.open(&format!("{url}/#/proofs/{id}")).await;
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('done')").await;
    browser.click("#delete").await;
    browser.dismiss().await;
    assert_eq!(client.proof(&id).await.unwrap().state, ProofState::Done);
    browser.click("#delete").await;
    browser.accept().await;
    browser.wait_for("location.hash === '#/' && document.querySelector('#overview').checkVisibility()").await;
    assert!(client.proof(&id).await.is_err(), "the proof is deleted");
    browser.wait_for(&is_visible("no-proofs")).await;
    browser.close().await;
    service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_offers_changes_only_if_the_token_permits_them() {
    let folder = tempfile::tempdir().unwrap();
    let (service, url, client) = start(folder.path(), &[], HEARTBEAT).await;
    let (open, ended) = (submit(&client, 1).await, submit(&client, 1).await);
    let cancelled = client.cancel(&ended).await.unwrap();
    client.follow(cancelled, u64::MAX >> 1, None, |_| {}).await.unwrap();
    let tokens = [("reader", "read"), ("user", "read,submit")]
        .map(|(name, roles)| (create_token(folder.path(), name, "default", roles), roles));
    let browser = Browser::start(1280, 900).await;
    browser.open(&format!("{url}/#/proofs/{open}")).await;
    for ((token, roles), is_offered) in tokens.iter().zip([false, true]) {
        log_in(&browser, token).await;
        for (id, button) in [(&open, "cancel"), (&ended, "delete")] {
            browser.value(&format!("location.hash = '#/proofs/{id}'")).await;
            browser.wait_for(&format!("document.querySelector('#facts').innerText && document.querySelector('#detail-title').innerText.includes('{id}')")).await;
            assert_eq!(browser.value(&is_visible(button)).await, is_offered, "{button} with {roles}");
        }
        browser.click("#logout").await;
    }
    browser.close().await;
    service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_says_why_a_deletion_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let (service, url, client) = start(folder.path(), &[worker.address], HEARTBEAT).await;
    let id = submit(&client, 1).await;
    client.follow(client.proof(&id).await.unwrap(), u64::MAX >> 1, None, |_| {}).await.unwrap();
    let [user, reader] = [("user", "read,submit"), ("reader", "read")]
        .map(|(name, roles)| create_token(folder.path(), name, "default", roles));
    let browser = Browser::start(1280, 900).await;
    browser.open(&format!("{url}/#/proofs/{id}")).await;
    log_in(&browser, &user).await;
    browser.wait_for(&is_visible("delete")).await;
    // Another tab logs in with a token that must not delete. The cookie belongs to all tabs.
    let login = format!("fetch('v1/login', {{ method: 'POST', headers: {{ Authorization: 'Bearer {reader}' }} }})");
    assert_eq!(browser.value(&format!("{login}.then((answer) => answer.status)")).await, 204);
    browser.click("#delete").await;
    browser.accept().await;
    browser.wait_for(&is_visible("refused")).await;
    let refused = "document.querySelector('#refused').innerText";
    let sentence = "the token reader has the roles read, and this call needs submit";
    browser.wait_for(&format!("{refused}.includes('{sentence}') && {refused}.includes('ask the administrator')")).await;
    assert_eq!(browser.value("location.hash").await, format!("#/proofs/{id}"));
    assert_eq!(browser.value("document.querySelector('#delete').disabled").await, false, "it can be tried again");
    assert_eq!(service.proof(&id).await.unwrap().state, ProofState::Done, "the proof is still there");
    browser.close().await;
    service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_tenants_only_if_there_are_several() {
    let folder = tempfile::tempdir().unwrap();
    let (service, url, client) = start(folder.path(), &[], HEARTBEAT).await;
    let id = submit(&client, 1).await;
    let browser = Browser::start(1280, 900).await;
    browser.open(&url).await;
    browser.wait_for(&row("proofs", &id)).await;
    assert_eq!(browser.value(&is_visible("tenants")).await, false);
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, create_token(folder.path(), "team", "team-a", "read,submit")).unwrap();
    let settings = ClientSettings { token_file: Some(token_file), ..ClientSettings::new(url.parse().unwrap()) };
    let theirs = submit(&Client::with(&settings).unwrap(), 1).await;
    browser.open("about:blank").await;
    browser.open(&url).await;
    log_in(&browser, &create_token(folder.path(), "root", "default", "admin")).await;
    for (id, tenant) in [(&id, "default"), (&theirs, "team-a")] {
        browser.wait_for(&format!("{}?.innerText.includes('{tenant}')", row("proofs", id))).await;
    }
    browser.wait_for(&is_visible("tenants")).await;
    browser.picture("tenants").await;
    browser.click(&format!("a[href='#/proofs/{theirs}']")).await;
    browser.wait_for("document.querySelector('#facts').innerText.includes('team-a')").await;
    browser.close().await;
    service.shutdown().await;
}

/// A driver that knows everything about GPU 0, and only the temperature of the other ones.
struct FewReadings;

impl GpuLibrary for FewReadings {
    fn driver(&self) -> Result<GpuDriver, GpuFault> {
        Err(GpuFault::NoDriver)
    }

    fn devices(&self) -> Result<FoundGpus, GpuFault> {
        Err(GpuFault::NoDriver)
    }

    fn reading(&self, index: u32) -> Result<GpuReading, GpuFault> {
        let known = GpuReading {
            used_bytes: Some(41_300_000_000),
            utilization_percent: Some(97),
            celsius: Some(64),
            milliwatts: Some(310_400),
        };
        Ok(if index == 0 { known } else { GpuReading { celsius: Some(61), ..GpuReading::default() } })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_the_readings_of_all_gpus_in_one_form() {
    let folder = tempfile::tempdir().unwrap();
    let gpus = GpuMonitor::new(Arc::new(FewReadings), vec![0, 3]);
    let worker =
        RunningWorker::start("two", ready(FakeEngine::honest()), |settings| settings.introduction.gpus = gpus).await;
    let (service, url, _) = start(folder.path(), &[worker.address], HEARTBEAT).await;
    let browser = Browser::start(1280, 900).await;
    browser.open(&url).await;
    for line in ["GPU 0: 41.3 GB used, 97 % busy, 64 °C, 310 W", "GPU 3: – GB used, – % busy, 61 °C, – W"] {
        browser.wait_for(&format!("{}?.innerText.includes('{line}')", row("workers", "two"))).await;
    }
    browser.picture("gpus").await;
    browser.close().await;
    service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_reconnects_after_the_service_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (service, url, _) = start(folder.path(), &[], HEARTBEAT).await;
    let browser = Browser::start(1280, 900).await;
    browser.open(&url).await;
    browser.wait_for(&is_visible("no-proofs")).await;
    service.shutdown().await;
    browser.wait_for("document.querySelector('#connection').innerText.includes('does not respond')").await;
    let service = running::open(folder.path(), |_| {}).await.unwrap();
    let listener = TcpListener::bind(url.trim_start_matches("http://")).await.unwrap();
    tokio::spawn(serve(service.clone(), listener));
    browser.wait_for("document.querySelector('#connection').innerText === ''").await;
    browser.close().await;
    service.shutdown().await;
}

/// The page shows a large pool and a long proof completely, and its first paint takes less than 500 ms.
#[ignore = "takes minutes: ./x test --full"]
#[tokio::test(flavor = "multi_thread")]
async fn page_shows_1000_workers_and_10000_tasks() {
    const WORKERS: usize = 1000;
    const TASKS: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        workers.push(RunningWorker::ready(&format!("worker-{number}"), FakeEngine::honest()).await);
    }
    // The workers share the cores of one machine. With a short heartbeat, slow workers would count as disconnected.
    let addresses: Vec<SocketAddr> = workers.iter().map(|worker| worker.address).collect();
    let (service, url, client) = start(folder.path(), &addresses, Duration::from_secs(5)).await;
    let id = submit(&client, TASKS).await;
    let browser = Browser::start(1280, 900).await;
    browser.open(&format!("{url}/#/proofs/{id}")).await;
    let ended = client.follow(client.proof(&id).await.unwrap(), u64::MAX >> 1, None, |_| {}).await.unwrap();
    assert_eq!(ended.state, ProofState::Done, "{ended:?}");
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('done')").await;
    // There are more attempts than tasks, because idle workers steal tasks that wait on other workers.
    let events = client.past_events(&id, 0).await.unwrap();
    let attempts = events.iter().filter(|record| matches!(record.event, ProofEvent::Assigned(_))).count();
    let label = format!("1000 workers, {attempts} attempts");
    let timeline = "document.querySelector('#timeline').getAttribute('aria-label')";
    browser.wait_for(&format!("{timeline}?.includes('{label}')")).await;
    browser.picture("thousand-timeline").await;
    browser.open("about:blank").await;
    browser.open(&url).await;
    browser.wait_for("document.querySelectorAll('#workers tr').length === 1000").await;
    browser.wait_for(&format!("{}?.innerText.includes('10000/10000')", row("proofs", &id))).await;
    let paint = first_paint(&browser).await;
    assert!(paint < 500.0, "first paint after {paint} ms");
    let sum = |column: u32| {
        format!(
            "[...document.querySelectorAll('#workers tr')].reduce((sum, row) => sum + Number(row.cells[{column}].innerText), 0)"
        )
    };
    assert_eq!(browser.value(&sum(3)).await, TASKS, "tasks done");
    // An attempt whose task another worker stole does not count as failed.
    assert_eq!(browser.value(&sum(4)).await, 0, "failed attempts");
    browser.picture("thousand").await;
    browser.close().await;
    service.shutdown().await;
}
