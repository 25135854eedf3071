//! RFC 7541 appendix C: the blocks, the fields they stand for, and the table after each.

use super::{bytes, decode};
use crate::h2::hpack::{Decoder, TABLE_BYTES_DEFAULT};

/// Blocks of one connection: hex, fields, entries of the table after it (newest first), its size.
type Step = (&'static str, &'static [&'static str], &'static [&'static str], usize);

fn run(table_bytes: usize, steps: &[Step]) {
    let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
    if table_bytes != TABLE_BYTES_DEFAULT {
        let mut update = Vec::new();
        crate::h2::hpack::integer::write(0x20, 5, table_bytes, &mut update);
        assert_eq!(decode(&mut decoder, &update), Ok(Vec::new()));
    }
    let shown = |list: Vec<super::Owned>| -> Vec<String> {
        list.into_iter().map(|(name, value, _)| format!("{name}: {value}")).collect()
    };
    for (hex, fields, table, size) in steps {
        assert_eq!(&shown(decode(&mut decoder, &bytes(hex)).unwrap()), fields, "{hex}");
        assert_eq!(decoder.table_bytes(), *size, "{hex}");
        let indices: Vec<u8> = (0..table.len()).map(|at| 0x80 | (62 + at) as u8).collect();
        assert_eq!(&shown(decode(&mut decoder, &indices).unwrap()), table, "{hex}");
        let beyond = [0x80 | (62 + table.len()) as u8];
        assert!(decode(&mut decoder, &beyond).is_err(), "{hex}: one entry too many");
    }
}

#[test]
fn c_2_single_fields() {
    let custom = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    run(4096, &[(custom, &["custom-key: custom-header"], &["custom-key: custom-header"], 55)]);
    run(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], &[], 0)]);
    run(4096, &[("82", &[":method: GET"], &[], 0)]);
    let never = bytes("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
    let secret = ("password".to_owned(), "secret".to_owned(), true);
    assert_eq!(decode(&mut decoder, &never), Ok(vec![secret]));
    assert_eq!(decoder.table_bytes(), 0);
}

const REQUEST_1: &[&str] =
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
const REQUEST_2: &[&str] = &[
    ":method: GET",
    ":scheme: http",
    ":path: /",
    ":authority: www.example.com",
    "cache-control: no-cache",
];
const REQUEST_3: &[&str] = &[
    ":method: GET",
    ":scheme: https",
    ":path: /index.html",
    ":authority: www.example.com",
    "custom-key: custom-value",
];
const AFTER_1: &[&str] = &[":authority: www.example.com"];
const AFTER_2: &[&str] = &["cache-control: no-cache", ":authority: www.example.com"];
const AFTER_3: &[&str] =
    &["custom-key: custom-value", "cache-control: no-cache", ":authority: www.example.com"];

#[test]
fn c_3_requests_without_huffman_coding() {
    run(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUEST_1, AFTER_1, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUEST_2, AFTER_2, 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                REQUEST_3,
                AFTER_3,
                164,
            ),
        ],
    );
}

#[test]
fn c_4_requests_with_huffman_coding() {
    run(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUEST_1, AFTER_1, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUEST_2, AFTER_2, 110),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                REQUEST_3,
                AFTER_3,
                164,
            ),
        ],
    );
}

const DATE_1: &str = "date: Mon, 21 Oct 2013 20:13:21 GMT";
const DATE_2: &str = "date: Mon, 21 Oct 2013 20:13:22 GMT";
const LOCATION: &str = "location: https://www.example.com";
const COOKIE: &str = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const RESPONSE_1: &[&str] = &[":status: 302", "cache-control: private", DATE_1, LOCATION];
const RESPONSE_2: &[&str] = &[":status: 307", "cache-control: private", DATE_1, LOCATION];
const RESPONSE_3: &[&str] =
    &[":status: 200", "cache-control: private", DATE_2, LOCATION, "content-encoding: gzip", COOKIE];
const LEFT_1: &[&str] = &[LOCATION, DATE_1, "cache-control: private", ":status: 302"];
const LEFT_2: &[&str] = &[":status: 307", LOCATION, DATE_1, "cache-control: private"];
const LEFT_3: &[&str] = &[COOKIE, "content-encoding: gzip", DATE_2];

#[test]
fn c_5_responses_without_huffman_coding() {
    let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
        2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 \
        2e63 6f6d";
    let third = "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d \
        54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 \
        5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31";
    run(
        256,
        &[
            (first, RESPONSE_1, LEFT_1, 222),
            ("4803 3330 37c1 c0bf", RESPONSE_2, LEFT_2, 222),
            (third, RESPONSE_3, LEFT_3, 215),
        ],
    );
}

#[test]
fn c_6_responses_with_huffman_coding() {
    let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
        2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
        77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 \
        3160 65c0 03ed 4ee5 b106 3d50 07";
    run(
        256,
        &[
            (first, RESPONSE_1, LEFT_1, 222),
            ("4883 640e ffc1 c0bf", RESPONSE_2, LEFT_2, 222),
            (third, RESPONSE_3, LEFT_3, 215),
        ],
    );
}
