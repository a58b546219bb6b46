/* A hash table from words to counts. */
#ifndef WORDSTAT_TABLE_H
#define WORDSTAT_TABLE_H

#include <stddef.h>

struct word {
  char* text;
  size_t length;
  unsigned long count;
};

struct table {
  struct word* slots; /* open addressing; text is NULL in free ones */
  size_t capacity;    /* a power of two, or 0 */
  size_t used;
  unsigned long total; /* of all counts */
};

void table_init(struct table* table);
void table_free(struct table* table);

/* Counts a word once more. Returns its new count, or 0 when memory ran out. */
unsigned long table_add(struct table* table, const char* text, size_t length);

/* 0 for words never seen. */
unsigned long table_count(const struct table* table, const char* text, size_t length);

/* The words, most frequent first and alphabetically among equals: an array of table->used, to be freed by the
 * caller; the texts stay the table's. NULL when memory ran out or the table is empty. */
struct word* table_sorted(const struct table* table);

#endif
