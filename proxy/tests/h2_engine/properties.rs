//! Properties over made-up connections: cuts change nothing.

use proptest::collection::vec;
use proptest::prelude::*;
use proxy::h2::ErrorCode;
use proxy::h2::frame::Kind;

use super::kit::{Frames, GET, POST, Subject, Text};

/// One step of a peer, well-behaved or not.
fn step(frames: Frames, (what, stream, size): (u8, u8, u8)) -> Frames {
    const FLAWED: [&[Text]; 4] = [
        &[(":method", "GET")],
        &[("A", "b")],
        &[("cookie", "a"), ("x", "y")],
        &[(":path", "/%zz")],
    ];
    let stream = u32::from(stream % 16);
    let data = vec![size; usize::from(size)];
    match what % 16 {
        0..=2 => frames.headers(stream | 1, what % 2 == 0, &GET),
        3 => frames.headers(stream | 1, false, &POST),
        4 => frames.headers(stream | 1, true, FLAWED[usize::from(size) % 4]),
        5..=7 => frames.data(stream | 1, size.is_multiple_of(5), &data),
        8 => frames.frame(Kind::Data, 0x9, stream | 1, &data),
        9 => frames.rst(stream | 1, ErrorCode::Cancel),
        10 => frames.window(stream, u32::from(size)),
        11 => frames.settings(&[(0x4, u32::from(size))]),
        12 => frames.frame(Kind::Ping, 0, 0, &[size; 8]),
        13 => frames.frame(Kind::Unknown(size | 0x80), size, stream, &data),
        14 => frames.frame(Kind::Priority, 0, stream | 1, &[0, 0, 0, size % 8, 1]),
        _ => {
            let mut frames = frames;
            let block = frames.block(&POST);
            let (first, rest) = block.split_at(usize::from(size) % block.len());
            let frames = frames.frame(Kind::Headers, 0, stream | 1, first);
            frames.frame(Kind::Continuation, 0x4, stream | 1, rest)
        }
    }
}

fn outcome(pieces: &[&[u8]]) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut subject = Subject::new();
    for piece in pieces {
        subject.feed(piece);
    }
    let answers = std::mem::take(subject.server.output());
    (subject.seen, subject.heads, subject.error, answers)
}

fn pieces<'a>(data: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut % (data.len() + 1)).collect();
    places.extend([0, data.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn events_do_not_depend_on_how_the_input_is_cut(
        steps in vec(any::<(u8, u8, u8)>(), 0..40),
        cuts in vec(any::<usize>(), 0..20),
    ) {
        let bytes = steps.into_iter().fold(Frames::client(), step).bytes;
        prop_assert_eq!(outcome(&pieces(&bytes, &cuts)), outcome(&[&bytes]));
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(outcome(&single), outcome(&[&bytes]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in vec(any::<u8>(), 0..200),
        steps in vec(any::<(u8, u8, u8)>(), 0..5),
        cuts in vec(any::<usize>(), 0..5),
    ) {
        let mut all = steps.into_iter().fold(Frames::client(), step).bytes;
        all.extend_from_slice(&bytes);
        prop_assert_eq!(outcome(&pieces(&all, &cuts)), outcome(&[&all]));
    }
}
