/* Writes inputs for the fuzz targets to start from, each target's in a folder of its own.
 * usage: fuzz_make_seeds FOLDER */
#include "base/memory.h"
#include "text/sentencepiece.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool write_seed(const char *folder, const char *name, const void *bytes, size_t n) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  bool written = file != NULL && fwrite(bytes, 1, n, file) == n;
  return file != NULL && fclose(file) == 0 && written;
}

/* FOLDER/TARGET with COUNT texts, each a seed of SIZES bytes (NULL: up to its end). */
static bool write_texts(const char *folder, const char *target, const char *const *texts,
                        const size_t *sizes) {
  char place[2048], name[16];
  snprintf(place, sizeof place, "%s/%s", folder, target);
  mkdir(place, 0777);
  for (int i = 0; texts[i] != NULL; i++) {
    snprintf(name, sizeof name, "%02d", i);
    if (!write_seed(place, name, texts[i], sizes != NULL ? sizes[i] : strlen(texts[i]))) return false;
  }
  return true;
}

static const char *const json[] = {
    "[{\"id\": \"a\", \"image\": \"x/1.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": "
    "\"<image>\\nWhat?\"}, {\"from\": \"gpt\", \"value\": \"A \\u00e9 \\ud83d\\ude42.\"}]}]",
    "{\"a\": [1, -2.5e-3, true, false, null, {}], \"b\": {\"c\": []}, \"a\": 12345678901234567890}",
    "{\"c\": {\"a\": [1]}, \"b\": [2, {}], \"a\": [3, [4]], \"d\": 5}",
    "{\"question_id\": 1, \"text\": \"yes\"}\n{\"question_id\": 2, \"text\": \"\"}\n",
    "[]",
    NULL};

/* Edits of fuzz_h5.c: hashes or not; kind, object, and what the kind takes. */
static const char *const h5[] = {"\0",
                                 "\0\0\1\2\7\0\1\3\1",
                                 "\0\12\0\7\1\5",
                                 "\0\10\5\1\2\4\6\1\1",
                                 "\0\14\1\1\10{\"a\": 1}",
                                 "\0\15\3\2\1\0\15\4\2\2\0\16\1\3",
                                 "\7\0\12\2\3\4",
                                 NULL};
static const size_t h5_sizes[] = {1, 9, 6, 9, 13, 14, 6};

/* Kind, options ('@': none, 'C': written, bad samples skipped, 'G': some held out besides), and a source's
 * files. */
static const char *const prepare[] = {
    "0C[{\"id\": \"a\", \"image\": \"000000000001.jpg\", \"conversations\": [{\"from\": \"human\", "
    "\"value\": "
    "\"<image>\\nWhat?\"}, {\"from\": \"gpt\", \"value\": \"It.\"}]}, {\"id\": 2, \"conversations\": []}]",
    "1C{\"id\": \"p\", \"image\": \"x.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": "
    "\"What?\\n<image>\"}, {\"from\": \"gpt\", \"value\": \"x\"}], \"output_1\": {\"from\": \"llava\", "
    "\"value\": \"one\"}, \"output_2\": {\"from\": \"llava\", \"value\": \"two\"}, \"preference\": 1}\n",
    "0@{\"prompt\": \"What?\", \"chosen\": \"this\", \"rejected\": \"that\"}\n",
    "2G{\"questions\": [{\"image_id\": 1, \"question\": \"Is it?\", \"question_id\": 10}], \"x\": [1]}\036"
    "{\"annotations\": [{\"question_id\": 10, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": "
    "\"yes\"}]}",
    "3K[{\"question_id\": \"q\", \"image_id\": 1, \"question\": \"What?\", \"choices\": [\"a\", \"b\"], "
    "\"correct_choice_idx\": 1, \"rationales\": [\"It is so\"]}]",
    "4A{\"annotations\": [{\"image_id\": 1, \"id\": 2, \"caption\": \" A dog.\\n\"}, {\"image_id\": 3, "
    "\"caption\": \"B\"}]}",
    "5C1.jpg#0\tA man .\n1.jpg#1\tOne man .\r\n\n000000000001.jpg#0\tA dog .\n",
    "1C{\"prompt\": \"q\", \"chosen\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
    "\"content\": \"a\"}], \"rejected\": [{\"content\": \"q\", \"name\": null, \"role\": \"user\"}, "
    "{\"role\": "
    "\"assistant\", \"content\": \"b\"}]}\n",
    "2C{\"questions\": [{\"image_id\": 1, \"question\": \"Is it?\", \"question_id\": 10}, {\"image_id\": 1, "
    "\"question\": null, \"question_id\": 11}]}\036{\"annotations\": [{\"question_id\": 10, \"answer_type\": "
    "\"yes/no\", \"multiple_choice_answer\": \"yes\"}, {\"question_id\": 10, \"answer_type\": \"yes/no\", "
    "\"multiple_choice_answer\": \"no\"}]}",
    "5C1.jpg#0\t \nbroken\n000000000001.jpg#0\tA dog .\n1.jpg#1\tA man .\n000000000001.jpg#1\tA dog .\n",
    "6A{\"000000000001.jpg\": [\"a\", \"b\"], \"aok_000000000001.jpg\": \"c\", \"x\": []}",
    "7A{\"annotations\": [{\"image_id\": 1, \"caption\": \"A dog.\"}]}",
    NULL};

/* Judge, form of the answers ('@': JSON, 'A': a table), answers, annotations, words, reference, replies. */
static const char *const judge[] = {
    "F@{\"question_id\": 0, \"image\": \"a.jpg\", \"text\": \"Is it?\", \"label\": \"no\", \"answer\": "
    "\"Yes, it "
    "is.\"}\n",
    "G@[{\"id\": 1, \"response\": \"No\"}, {\"id\": 2, \"response\": \"A dog.\"}]\036[{\"id\": 1, \"type\": "
    "\"relation\", \"truth\": \"no\"}, {\"id\": 2, \"type\": \"generative\", \"truth\": [\"dog\"]}]",
    "H@[{\"category\": \"VD\", \"subcategory\": \"chart\", \"visual_input\": \"1\", \"set_id\": \"0\", "
    "\"figure_id\": \"0\", \"question_id\": \"0\", \"question\": \"Is it so?\", \"gt_answer\": \"1\", "
    "\"model_prediction\": \"Yes.\"}]",
    "IAindex\tquestion\tA\tB\tC\tanswer\tl2-category\tprediction\n0\t\"What?\"\tone\ttwo\t\tB\tx\ttwo\n"
    "1000000\tWhat?\ttwo\tone\t\tA\tx\tA\n",
    "J@{\"image_id\": 7, \"caption\": \"Two dogs on a chair\"}\036{\"annotations\": [{\"image_id\": 7, "
    "\"category_id\": "
    "3}], \"categories\": [{\"id\": 3, \"name\": \"dog\"}]}\036dog, puppy\nchair, seat\nbear, teddy bear\n",
    "J@{\"image_id\": 7, \"caption\": \"A baby bear, toilet seats\"}\036{\"annotations\": [{\"image_id\": 7, "
    "\"caption\": \"A toilet\"}]}\036toilet\nchair, seat\nbear\nperson, baby\n",
    "K@[{\"question_type\": \"attribute\", \"image_content\": [\"a cat\"], \"question\": \"What?\", "
    "\"gt_answer\": \"A "
    "cat.\", \"model_answer\": \"It\"}]\036\036\036\036[{\"choices\": [{\"message\": {\"content\": \"Rating: "
    "6\"}}]}]",
    "L@{\"question_id\": 3, \"image\": \"a.jpg\", \"text\": \"A\", \"prompt\": \"What?\", \"category\": "
    "\"complex\"}\n\036[{\"image\": \"a.jpg\", \"captions\": [\"A dog\"], \"instances\": [{\"category\": "
    "\"dog\", "
    "\"bbox\": [1, 2.5]}]}]\036\036{\"question_id\": 3, \"text\": \"A dog\"}\n\036{\"category\": "
    "\"llava_bench_conv\", \"tuple\": [8, 7]}\n{\"custom_id\": \"conv-0\", \"response\": {\"body\": "
    "{\"choices\": "
    "[{\"message\": {\"content\": \"8 9.5\"}}]}}}\n",
    NULL};

/* config.json, preprocessor_config.json, adapter_config.json, the tower's config.json. */
static const char *const config[] = {
    "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_act\": \"silu\", "
    "\"hidden_size\": 32, "
    "\"intermediate_size\": 48, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
    "\"num_key_value_heads\": 2, "
    "\"rms_norm_eps\": 1e-05, \"vocab_size\": 99, \"rope_theta\": 10000.0, \"rope_scaling\": {\"rope_type\": "
    "\"llama3\", "
    "\"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
    "\"original_max_position_embeddings\": 64}, "
    "\"tie_word_embeddings\": false}\036\036{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"bias\": "
    "\"none\", "
    "\"target_modules\": [\"q_proj\"], \"base_model_name_or_path\": \"x\"}",
    "{\"model_type\": \"llava\", \"hidden_size\": 32, \"intermediate_size\": 48, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 4, \"rms_norm_eps\": 1e-05, \"vocab_size\": 99, \"mm_vision_tower\": "
    "\"openai/clip-vit-large-patch14\", \"mm_projector_type\": \"mlp2x_gelu\", \"mm_vision_select_layer\": "
    "-2, "
    "\"mm_hidden_size\": 1024}\036{\"crop_size\": {\"height\": 224, \"width\": 224}, \"resample\": 3, "
    "\"image_mean\": "
    "[0.48145466, 0.4578275, 0.40821073]}",
    "{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"llama\", \"hidden_size\": 32, "
    "\"num_attention_heads\": 4}, "
    "\"vision_config\": "
    "{\"model_type\": \"clip_vision_model\", \"hidden_size\": 32, \"image_size\": 48, \"patch_size\": 16}, "
    "\"vision_feature_layer\": -2, \"projector_hidden_act\": \"gelu\", \"image_token_index\": 98}\036\036\036"
    "{\"model_type\": \"clip_vision_model\", \"hidden_size\": 32, \"intermediate_size\": 48, "
    "\"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 2, \"image_size\": 48, \"patch_size\": 16, \"hidden_act\": \"quick_gelu\", "
    "\"layer_norm_eps\": 1e-05}",
    NULL};

/* '@': JSON, 'A': a table, 'C': its questions in all orders; the questions. */
static const char *const benchmark[] = {
    "@[{\"question_type\": \"attribute\", \"image_id\": \"1\", \"image_src\": \"https://a.org/b/1.jpg\", "
    "\"image_content\": [\"a cat\"], \"question\": \"What?\", \"gt_answer\": \"A cat.\"}]",
    "@[{\"id\": 1, \"image\": \"1.jpg\", \"query\": \"Is it?\"}]",
    "@[{\"category\": \"VS\", \"subcategory\": \"map\", \"visual_input\": \"1\", \"set_id\": \"0\", "
    "\"figure_id\": "
    "\"0\", \"question_id\": \"0\", \"question\": \"Is it?\", \"gt_answer\": \"1\", \"filename\": "
    "\"./x/y.png\"}]",
    "@{\"question_id\": 3, \"image\": \"1.jpg\", \"text\": \"What?\", \"category\": \"complex\"}\n",
    "Cindex\tquestion\thint\tA\tB\tC\tD\tanswer\timage\n5\tWhat \"\"is\"\" it?\tLook\tred\tgreen\tblue\t\tC\t"
    "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3ODk=\n6\tW?"
    "\tnan\tx\ty\t\t\tA\t5\n",
    "Aindex\tquestion\tA\tB\timage_path\n1\tW?\tx\ty\ta.jpg\n",
    NULL};

static bool next_text(void *context, const char **text, size_t *n) {
  static const char *const texts[] = {"a red square left of a blue circle",
                                      "how many green triangles are there? 12",
                                      "no, there is nothing else in the image."};
  int *next = context;
  if (*next == 3) return false;
  *text = texts[(*next)++];
  *n = strlen(*text);
  return true;
}

static bool write_tokenizers(const char *folder) {
  char place[2048];
  snprintf(place, sizeof place, "%s/tokenizer", folder);
  mkdir(place, 0777);
  for (int fallback = 0; fallback < 2; fallback++) {
    const tokenizer_training_t training = {.vocab_size = fallback ? 310 : 40, .byte_fallback = fallback};
    tokenizer_t *tokenizer;
    int next = 0;
    size_t n = 0;
    if (tokenizer_train(&training, next_text, &next, &tokenizer) != STATUS_OK) {
      fprintf(stderr, "%s\n", error_message());
      return false;
    }
    const void *bytes = tokenizer_bytes(tokenizer, &n);
    bool written = write_seed(place, fallback ? "bytes.model" : "plain.model", bytes, n);
    tokenizer_free(tokenizer);
    if (!written) return false;
  }
  return true;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  mkdir(argv[1], 0777);
  bool written = write_texts(argv[1], "json", json, NULL) && write_texts(argv[1], "dataset", h5, h5_sizes) &&
                 write_texts(argv[1], "prepare", prepare, NULL) &&
                 write_texts(argv[1], "judge", judge, NULL) && write_texts(argv[1], "config", config, NULL) &&
                 write_texts(argv[1], "benchmark", benchmark, NULL) &&
                 write_texts(argv[1], "samples", h5, h5_sizes) &&
                 write_texts(argv[1], "weights", h5, h5_sizes) && write_tokenizers(argv[1]);
  if (!written) fprintf(stderr, "the seeds cannot be written to %s\n", argv[1]);
  return written ? 0 : 1;
}
