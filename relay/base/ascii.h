#ifndef RELAY_BASE_ASCII_H
#define RELAY_BASE_ASCII_H

#include <stdbool.h>

/* Classes of bytes as the RFCs have them, free of any locale. */

static inline bool
ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
ascii_is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static inline bool
ascii_is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static inline bool
ascii_is_alpha(char c)
{
	return ascii_is_upper(c) || ascii_is_lower(c);
}

static inline bool
ascii_is_alnum(char c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c);
}

/* Space and tab: RFC 5234 WSP. */
static inline bool
ascii_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* WSP, CR, LF, VT and FF. */
static inline bool
ascii_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* 0x20 to 0x7e. */
static inline bool
ascii_is_print(char c)
{
	return c >= 0x20 && c <= 0x7e;
}

/* Printable and no space: RFC 5234 VCHAR. */
static inline bool
ascii_is_graph(char c)
{
	return c > 0x20 && c <= 0x7e;
}

static inline bool
ascii_is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* A byte above 0x7f: part of UTF-8, or of nothing we know. */
static inline bool
ascii_is_foreign(char c)
{
	return (unsigned char)c >= 0x80;
}

static inline char
ascii_lower(char c)
{
	return ascii_is_upper(c) ? (char)(c + ('a' - 'A')) : c;
}

static inline char
ascii_upper(char c)
{
	return ascii_is_lower(c) ? (char)(c - ('a' - 'A')) : c;
}

/* The value of a hexadecimal digit of either case, or -1. */
static inline int
ascii_hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif
