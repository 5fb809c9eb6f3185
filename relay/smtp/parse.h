/*
 * What a text parser says of the bytes it was shown.  It consumes only what it understood.
 */
#ifndef RELAY_SMTP_PARSE_H
#define RELAY_SMTP_PARSE_H

enum parse {
	PARSE_BAD,              /* these bytes are wrong, whatever follows */
	PARSE_MORE,             /* nothing can be said before more bytes come */
	PARSE_DONE,             /* one whole thing was read */
};

#endif
