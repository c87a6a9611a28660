import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.sentences import load_sentences

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "on", "the", "beach"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a tiny model of MiniLM's kind, as a folder of transformers' files."""
    from mindeye2.core.runtime import process_rng
    from mindeye2.core.torchvision_operators import declare_torchvision_operators

    declare_torchvision_operators()
    transformers = pytest.importorskip("transformers")

    path = tmp_path_factory.mktemp("minilm")
    (path / "vocab.txt").write_text("\n".join(WORDS))
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
    )
    with process_rng(0, "bert"):
        transformers.BertModel(config).save_pretrained(path)
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    return path


def test_a_sentence_s_embedding_does_not_depend_on_its_neighbours(folder):
    embed = load_sentences(str(folder))
    together = embed(["a dog", "a cat on the beach"])
    torch.testing.assert_close(together[:1], embed(["a dog"]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))


def test_it_is_the_mean_over_the_sentence(folder):
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval()
    pieces = torch.tensor([[2, 5, 6, 8, 9, 10, 3]])  # [CLS] a dog on the beach [SEP]
    with torch.no_grad():
        mean = model(input_ids=pieces).last_hidden_state.mean(dim=1)
    expected = mean / mean.norm()
    torch.testing.assert_close(load_sentences(str(folder))(["a dog on the beach"]), expected)


def test_many_sentences_keep_their_order(folder):
    embed = load_sentences(str(folder))
    sentences = ["a dog", "the cat"] * 40
    rows = embed(sentences)
    assert len(rows) == 80
    torch.testing.assert_close(rows[70], rows[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(rows[70], rows[1], atol=1e-3)


def test_no_folder_and_no_hub_say_what_to_download(tmp_path):
    with pytest.raises(ArtifactError, match=r"all-MiniLM-L6-v2 \(91 MB, Apache-2\.0\)"):
        load_sentences(str(tmp_path / "nowhere"))
