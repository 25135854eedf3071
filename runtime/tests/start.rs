//! How a backend starts, or says why it cannot: pinning, limits, and a refused io_uring.
//!
//! Where a container's seccomp filter refuses io_uring, the ring backends say so and name the
//! remedy, and epoll runs. The filter is installed on one thread of this test only.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use runtime::socket::Home;
use runtime::{Epoll, Glommio, Listener, Monoio, Options, Runtime, Sink, Size, StartError, Stream};
use runtime::{cores, probe};

/// Makes `io_uring_setup` fail with `errno` on this thread, as container runtimes do.
fn refuse_uring(errno: i32) {
    let statement = |code: u32, jump: (u8, u8), k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: jump.0,
        jf: jump.1,
        k,
    };
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap();
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0), // the call's number
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, 1), number),
        statement(libc::BPF_RET | libc::BPF_K, (0, 0), refusal),
        statement(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: no pointers; it concerns this thread only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its statements outlive the call, which copies them.
    let done = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

async fn echo<R: Runtime>() {
    let mut listener = R::listen("127.0.0.1:0".parse().unwrap(), Home::Here).unwrap();
    let address = listener.local_address().unwrap();
    let (mut sink, mut stream) = R::connect(address).await.unwrap();
    let (mut far_sink, mut far_stream, _) = listener.accept().await.unwrap();
    sink.send(b"over epoll".to_vec()).await.unwrap();
    far_sink.send_buf(far_stream.recv(Size::Small).await.unwrap()).await.unwrap();
    assert_eq!(&*stream.recv(Size::Small).await.unwrap(), b"over epoll");
}

fn assert_blames_seccomp(error: &StartError) {
    let text = error.to_string();
    assert!(matches!(error, StartError::Uring { .. }), "{text}");
    assert!(text.contains("seccomp") && text.contains("--runtime epoll"), "{text}");
}

#[test]
fn a_seccomp_filter_is_blamed_whatever_it_answers_and_epoll_runs() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let refused = move || {
            refuse_uring(errno);
            let options = Options::default();
            assert_blames_seccomp(&probe::uring().unwrap_err());
            assert_blames_seccomp(&Monoio::block_on(&options, || async {}).unwrap_err());
            assert_blames_seccomp(&Glommio::block_on(&options, || async {}).unwrap_err());
            Epoll::block_on(&options, echo::<Epoll>).unwrap();
        };
        std::thread::spawn(refused).join().unwrap();
    }
}

#[test]
fn every_backend_pins_its_thread_or_names_the_core_that_it_cannot_have() {
    fn pins<R: Runtime>() {
        let pinned = move || {
            let core = cores::usable().unwrap().cores.last().unwrap().id;
            let options = Options { core: Some(core), ..Options::default() };
            let seen = match R::block_on(&options, || async { cores::usable().unwrap() }) {
                Ok(seen) => seen,
                Err(error) if R::NAME != Epoll::NAME => {
                    return eprintln!("NOT RUN on {}: {error}", R::NAME);
                }
                Err(error) => panic!("{error}"),
            };
            assert_eq!(seen.choose(seen.cores.len()), [core], "{}", R::NAME);
            let options =
                Options { core: Some(cores::CoreId(cores::CORE_MAX)), ..Options::default() };
            let error = R::block_on(&options, || async {}).unwrap_err();
            assert!(matches!(error, StartError::Pin { core: cores::CORE_MAX, .. }), "{error}");
        };
        std::thread::spawn(pinned).join().unwrap();
    }
    pins::<Monoio>();
    pins::<Epoll>();
    pins::<Glommio>();
}

#[test]
fn limits_are_raised_to_the_hard_ones() {
    let (_, hard) = probe::Facts::read().nofile.unwrap();
    assert_eq!(runtime::socket::raise_nofile().unwrap(), hard);
    assert_eq!(probe::Facts::read().nofile, Some((hard, hard)));
    let raised = runtime::socket::raise_memlock().unwrap();
    assert_eq!(probe::Facts::read().memlock, Some((raised, raised)));
}
