/* Prints TAP: "ok 1 - name # time=12us", so that any TAP reader, or three lines of Python, can follow. */
#include "report.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int failures; /* of the running test */

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      printf("# %s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      failures++;                                                            \
    }                                                                        \
  } while (0)

static struct text counted(const char* string, size_t min_length) {
  struct text text;
  text_init(&text, min_length);
  CHECK(text_feed(&text, string, strlen(string)) == 0);
  CHECK(text_end(&text) == 0);
  return text;
}

static unsigned long count_of(const struct text* text, const char* word) {
  return table_count(&text->words, word, strlen(word));
}

static void empty_input(void) {
  struct text text = counted("", 1);
  CHECK(text.words.total == 0);
  CHECK(text.line_words.count == 0);
  CHECK(count_of(&text, "word") == 0);
  CHECK(table_sorted(&text.words) == NULL);
  text_free(&text);
}

static void case_is_folded(void) {
  struct text text = counted("The the THE tHe then", 1);
  CHECK(count_of(&text, "the") == 4);
  CHECK(count_of(&text, "then") == 1);
  CHECK(text.words.used == 2);
  text_free(&text);
}

static void apostrophes_stay_inside(void) {
  struct text text = counted("'don't' rock'n'roll'", 1);
  CHECK(count_of(&text, "don't") == 1);
  CHECK(count_of(&text, "rock'n'roll") == 1);
  CHECK(text.words.total == 2);
  text_free(&text);
}

static void utf8_is_kept(void) {
  struct text text = counted("na\xc3\xafve caf\xc3\xa9, caf\xc3\xa9.", 1);
  CHECK(count_of(&text, "caf\xc3\xa9") == 2);
  CHECK(count_of(&text, "na\xc3\xafve") == 1);
  text_free(&text);
}

static void short_words_are_left_out(void) {
  struct text text = counted("a bb ccc dddd", 3);
  CHECK(text.words.total == 2);
  CHECK(count_of(&text, "bb") == 0);
  text_free(&text);
}

static void long_words_are_cut(void) {
  char word[2 * LONGEST_WORD + 1];
  memset(word, 'x', sizeof word - 1);
  word[sizeof word - 1] = '\0';
  struct text text = counted(word, 1);
  CHECK(text.words.total == 1);
  CHECK(text.word_length.largest == LONGEST_WORD);
  text_free(&text);
}

static void lines_are_measured(void) {
  struct text text = counted("one two three\n\nfour", 1);
  CHECK(text.line_words.count == 3);
  CHECK(text.line_words.smallest == 0);
  CHECK(text.line_words.largest == 3);
  CHECK(fabs(text.line_words.mean - 4.0 / 3) < 1e-12);
  text_free(&text);
}

static void pieces_do_not_matter(void) {
  static const char string[] = "It was the best of times,\nit was the worst of times";
  struct text whole = counted(string, 1);
  struct text pieces;
  text_init(&pieces, 1);
  for (size_t i = 0; i + 1 < sizeof string; i++) CHECK(text_feed(&pieces, string + i, 1) == 0);
  CHECK(text_end(&pieces) == 0);
  CHECK(pieces.words.total == whole.words.total);
  CHECK(pieces.words.used == whole.words.used);
  CHECK(count_of(&pieces, "times") == 2);
  CHECK(pieces.line_words.count == whole.line_words.count);
  text_free(&whole);
  text_free(&pieces);
}

static void order_is_by_count_then_name(void) {
  struct text text = counted("b c a b c b a", 1);
  struct word* words = table_sorted(&text.words);
  CHECK(words != NULL);
  if (words != NULL) {
    CHECK(strcmp(words[0].text, "b") == 0 && words[0].count == 3);
    CHECK(strcmp(words[1].text, "a") == 0 && words[1].count == 2);
    CHECK(strcmp(words[2].text, "c") == 0);
  }
  free(words);
  text_free(&text);
}

static void spread_is_exact(void) {
  struct spread spread = {0};
  /* Large numbers close together: the sum of squares would lose them. */
  for (int i = 0; i < 5; i++) spread_add(&spread, 1e9 + i);
  CHECK(spread.mean == 1e9 + 2);
  CHECK(fabs(spread_deviation(&spread) - sqrt(2.5)) < 1e-9);
  CHECK(spread_deviation(&(struct spread){.count = 1}) == 0);
}

static void table_grows(void) {
  struct table table;
  table_init(&table);
  char word[16];
  for (int i = 0; i < 20000; i++) {
    int length = snprintf(word, sizeof word, "w%d", i % 5000);
    CHECK(table_add(&table, word, (size_t)length) == (unsigned long)(i / 5000 + 1));
  }
  CHECK(table.used == 5000);
  CHECK(table.total == 20000);
  CHECK(table_count(&table, "w4999", 5) == 4);
  CHECK(table_count(&table, "w5000", 5) == 0);
  table_free(&table);
}

static void csv_is_written(void) {
  struct text text = counted("to be or not to be", 1);
  char* written = NULL;
  size_t size = 0;
  FILE* out = open_memstream(&written, &size);
  CHECK(out != NULL);
  if (out != NULL) {
    CHECK(report_csv(&text, 2, out) == 0);
    fclose(out);
    CHECK(strcmp(written, "rank,word,count,share\n1,be,2,0.333333\n2,to,2,0.333333\n") == 0);
  }
  free(written);
  text_free(&text);
}

static void a_megabyte_is_counted(void) {
  static const char* const kWords[] = {"alpha ", "beta ", "gamma\n", "delta, ", "epsilon. "};
  struct text text;
  text_init(&text, 1);
  unsigned long seed = 1;
  size_t fed = 0;
  unsigned long words = 0;
  while (fed < 1000000) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const char* word = kWords[(seed >> 33) % 5];
    fed += strlen(word);
    words++;
    CHECK(text_feed(&text, word, strlen(word)) == 0);
  }
  CHECK(text_end(&text) == 0);
  CHECK(text.words.total == words);
  CHECK(text.words.used == 5);
  text_free(&text);
}

static const struct {
  const char* name;
  void (*run)(void);
} kTests[] = {
    {"empty input", empty_input},
    {"case is folded", case_is_folded},
    {"apostrophes stay inside", apostrophes_stay_inside},
    {"utf-8 is kept", utf8_is_kept},
    {"short words are left out", short_words_are_left_out},
    {"long words are cut", long_words_are_cut},
    {"lines are measured", lines_are_measured},
    {"pieces do not matter", pieces_do_not_matter},
    {"order is by count, then name", order_is_by_count_then_name},
    {"spread is exact", spread_is_exact},
    {"table grows", table_grows},
    {"csv is written", csv_is_written},
    {"a megabyte is counted", a_megabyte_is_counted},
};

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

int main(void) {
  size_t count = sizeof kTests / sizeof *kTests;
  size_t failed = 0;
  printf("1..%zu\n", count);
  for (size_t i = 0; i < count; i++) {
    failures = 0;
    double start = now_us();
    kTests[i].run();
    double took = now_us() - start;
    printf("%s %zu - %s # time=%.1fus\n", failures == 0 ? "ok" : "not ok", i + 1, kTests[i].name, took);
    fflush(stdout);
    failed += failures != 0;
  }
  printf("# %zu of %zu passed\n", count - failed, count);
  return failed == 0 ? 0 : 1;
}
