//! Vocabulary files, reserved ids and shards.

use std::path::PathBuf;

use super::super::vocabulary;
use super::distributions::assert_golden_unigram;
use super::*;

/// A file that is removed at the end of its test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, content: &[u8]) -> TempFile {
        let name = format!("sampled-softmax-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        TempFile(path)
    }

    fn unigram(&self) -> Unigram {
        from_file(self.0.to_str().unwrap())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A file left over in the temporary directory harms no later test.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn from_file(path: &str) -> Unigram {
    Unigram {
        weights: UnigramWeights::File(path.into()),
        distortion: 1.0,
        num_reserved_ids: 0,
        num_shards: 1,
        shard: 0,
    }
}

fn from_memory(weights: &[f64]) -> Unigram {
    Unigram { weights: UnigramWeights::Memory(weights.to_vec()), ..from_file("") }
}

fn fault(unigram: &Unigram, num_classes: i64) -> Error {
    vocabulary::weights(unigram, num_classes).unwrap_err()
}

/// SAMP-57.
#[test]
fn the_last_field_of_a_line_is_the_weight() {
    let file = TempFile::new("golden", b"w1,1\nw2,2\nw3,4\nw4,8\nw5,16\nw6,32\nw7,64\nw8,128\nw9,256");
    let unigram = Unigram { distortion: 0.8, ..file.unigram() };
    assert_golden_unigram(&probabilities(&sampler(Kind::FixedUnigram(unigram), 9, 1, true)));
}

#[test]
fn lines_are_read_as_tensorflow_reads_them() {
    let file = TempFile::new("lines", b"a,b,1\r\n\n\r\n2\n\"x,y\", 3.5 \n,4e-1\n\xff\xfe,5\n");
    assert_eq!(vocabulary::weights(&file.unigram(), 5).unwrap(), [1.0, 2.0, 3.5, 0.4, 5.0]);
}

#[test]
fn files_and_memory_give_the_same_sampler() {
    let file = TempFile::new("same", b"a,3\nb,0\nc,1.25\nd,2\n");
    let memory = from_memory(&[3.0, 0.0, 1.25, 2.0]);
    let build = |unigram| sampler(Kind::FixedUnigram(unigram), 4, 2, true);
    let (read, given) = (build(file.unigram()), build(memory));
    for step in 0..20 {
        assert_eq!(draw(&read, step), draw(&given, step));
    }
}

#[test]
fn reserved_ids_come_first_and_are_never_drawn() {
    for reserved in [1, 2] {
        let unigram = Unigram { num_reserved_ids: reserved, distortion: 2.0, ..from_memory(&[1.0, 3.0]) };
        let weights = vocabulary::weights(&unigram, 2 + reserved).unwrap();
        assert_eq!(weights[..reserved as usize], vec![0.0; reserved as usize]);
        assert_eq!(weights[reserved as usize..], [1.0, 9.0]);
        let sampler = sampler(Kind::FixedUnigram(unigram), 2 + reserved, 1000, false);
        assert!(draw(&sampler, 0).ids.iter().all(|id| *id >= reserved));
    }
}

#[test]
fn reserved_ids_stay_at_0_where_distortion_makes_zeros_alike() {
    let unigram = Unigram { num_reserved_ids: 1, distortion: 0.0, ..from_memory(&[0.0, 7.0]) };
    assert_eq!(vocabulary::weights(&unigram, 3).unwrap(), [0.0, 1.0, 1.0]);
}

#[test]
fn shards_divide_the_ids_by_their_remainder() {
    let whole: Vec<f64> = (1..=10).map(f64::from).collect();
    let shard = |shard| {
        let unigram = Unigram { num_shards: 3, shard, ..from_memory(&whole) };
        vocabulary::weights(&unigram, if shard == 0 { 4 } else { 3 }).unwrap()
    };
    assert_eq!(shard(0), [1.0, 4.0, 7.0, 10.0]);
    assert_eq!(shard(1), [2.0, 5.0, 8.0]);
    assert_eq!(shard(2), [3.0, 6.0, 9.0]);
    let error = fault(&Unigram { num_shards: 3, shard: 3, ..from_memory(&whole) }, 3);
    assert_eq!(error.to_string(), "shard = 3 is outside [0, 3)");
    let none = Unigram { num_shards: 0, ..from_memory(&whole) };
    assert_eq!(vocabulary::weights(&none, 10).unwrap(), whole);
}

/// TensorFlow numbers the weights of a shard from the reserved ids it kept: with one
/// reserved id, shards 0 and 1 of 2 would both keep the weights at odd positions.
#[test]
fn differs_from_tensorflow_in_shards_with_reserved_ids_being_a_partition() {
    for reserved in 0..6 {
        for num_shards in 1..5 {
            let whole: Vec<f64> = (1..=9).map(f64::from).collect();
            let mut ids = vec![f64::NAN; 9 + reserved];
            for shard in 0..num_shards {
                let unigram = Unigram {
                    num_reserved_ids: reserved as i64,
                    num_shards: num_shards as u32,
                    shard: shard as u32,
                    ..from_memory(&whole)
                };
                let places: Vec<usize> = (shard..ids.len()).step_by(num_shards).collect();
                let weights = vocabulary::weights(&unigram, places.len() as i64).unwrap();
                places.iter().zip(weights).for_each(|(place, weight)| ids[*place] = weight);
            }
            let want: Vec<f64> = std::iter::repeat_n(0.0, reserved).chain(whole).collect();
            assert_eq!(ids, want);
        }
    }
}

#[test]
fn lines_of_other_shards_need_no_weight() {
    let file = TempFile::new("others", b"word,weight\na,1\n-,-\nb,2\n");
    let unigram = Unigram { num_shards: 2, shard: 1, ..file.unigram() };
    assert_eq!(vocabulary::weights(&unigram, 2).unwrap(), [1.0, 2.0]);
}

/// SAMP-58.
#[test]
fn a_missing_file_and_a_wrong_number_of_classes_are_named() {
    let error = fault(&from_file("/no/such/vocabulary"), 3);
    assert!(matches!(error, Error::File { .. }));
    assert_eq!(error.to_string(), "/no/such/vocabulary: No such file or directory (os error 2)");
    let nine = Unigram { num_reserved_ids: 1, ..from_memory(&[1.0; 8]) };
    let error = fault(&nine, 8);
    assert_eq!(
        error.to_string(),
        "num_classes = 8, but shard 0 of 1 of unigrams has 9 classes, of 9 with \
         num_reserved_ids = 1"
    );
    assert!(matches!(error, Error::InvalidValue(_)));
    let file = TempFile::new("count", b"a,1\nb,2\n");
    let text = fault(&file.unigram(), 3).to_string();
    assert!(text.starts_with("num_classes = 3, ") && text.contains(" has 2 classes"), "{text}");
}

#[test]
fn a_directory_or_a_device_is_no_vocabulary() {
    for path in [std::env::temp_dir().to_str().unwrap(), "/dev/zero", "/dev/null"] {
        let error = fault(&from_file(path), 3);
        assert!(matches!(error, Error::File { .. }));
        assert_eq!(error.to_string(), format!("{path}: not a regular file"));
    }
}

#[test]
fn bad_lines_are_named_and_cut_short() {
    let cases: [(&str, &[u8], &str); 6] = [
        ("text", b"a,1\n\nword,x\n", "line 3: no weight behind the last comma of \"word,x\""),
        ("blank", b"a,1\n   \n", "line 2: no weight behind the last comma of \"   \""),
        ("empty", b"a,1\nb,\n", "line 2: no weight behind the last comma of \"b,\""),
        ("bytes", b"a,1\n\x00\xff\n", "line 2: no weight behind the last comma of \"\\x00\\xff\""),
        ("negative", b"a,1\nb,-2\n", "line 2: weight = -2 is negative"),
        ("infinite", b"a,1\nb,1e999\n", "line 2: weight = inf is not finite"),
    ];
    for (name, content, want) in cases {
        let file = TempFile::new(name, content);
        let error = fault(&file.unigram(), 2);
        assert!(matches!(error, Error::File { .. }));
        assert_eq!(error.to_string(), format!("{}: {want}", file.0.display()));
    }
    let file = TempFile::new("long-field", &[b'x'; 5000]);
    assert!(fault(&file.unigram(), 2).to_string().ends_with("xxxx...\""));
}

#[test]
fn a_line_without_end_is_not_read_to_its_end() {
    let file = TempFile::new("endless", &vec![b'1'; (1 << 20) + 1]);
    let text = fault(&file.unigram(), 1).to_string();
    assert!(text.ends_with("line 1 is longer than 1048576 bytes"), "{text}");
}

#[test]
fn binary_and_truncated_files_are_errors() {
    let mut stream = super::super::stream::Stream::new(1, 2, 3);
    let noise: Vec<u8> = (0..100_000).flat_map(|_| stream.word().to_le_bytes()).collect();
    let file = TempFile::new("noise", &noise);
    assert!(matches!(fault(&file.unigram(), 100), Error::File { .. }));
    let file = TempFile::new("nothing", b"");
    assert!(matches!(fault(&file.unigram(), 1), Error::InvalidValue(_)));
    let file = TempFile::new("truncated", b"a,1\nb,2\nc");
    assert!(matches!(fault(&file.unigram(), 3), Error::File { .. }));
}

/// SAMP-61. TensorFlow takes negative weights for negative probabilities.
#[test]
fn differs_from_tensorflow_in_refusing_bad_weights() {
    let message = |weights: &[f64], distortion| {
        fault(&Unigram { distortion, ..from_memory(weights) }, weights.len() as i64).to_string()
    };
    assert_eq!(message(&[-1.0, 2.0, 5.0], 1.0), "unigrams[0] = -1 is negative");
    assert_eq!(message(&[1.0, f64::NAN], 1.0), "unigrams[1] = NaN is not finite");
    assert_eq!(message(&[1.0, f64::INFINITY], 1.0), "unigrams[1] = inf is not finite");
    assert_eq!(message(&[0.0, 0.0], 1.0), "unigrams: the weights of all 2 classes are 0");
    assert_eq!(message(&[1.0, 0.0], -1.0), "unigrams[1] = 0 to the power -1 is not finite");
    assert_eq!(message(&[1.0], f64::NAN), "distortion = NaN is not finite");
}

#[test]
fn absurd_numbers_of_reserved_ids_are_refused_without_memory() {
    let reserve =
        |num_reserved_ids| fault(&Unigram { num_reserved_ids, ..from_memory(&[1.0]) }, 5).to_string();
    assert_eq!(reserve(-1), "num_reserved_ids = -1 is negative");
    assert!(reserve(i64::MAX).contains("has 9223372036854775808 classes"));
}
