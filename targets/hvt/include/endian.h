/* SPDX-License-Identifier: MIT */
#ifndef HVT_ENDIAN_H
#define HVT_ENDIAN_H
#define htole16(n) (n)
#define le16toh(n) (n)
#define htole32(n) (n)
#define le32toh(n) (n)
#define htole64(n) (n)
#define le64toh(n) (n)
#define htobe16(n) __builtin_bswap16(n)
#define be16toh(n) __builtin_bswap16(n)
#define htobe32(n) __builtin_bswap32(n)
#define be32toh(n) __builtin_bswap32(n)
#define htobe64(n) __builtin_bswap64(n)
#define be64toh(n) __builtin_bswap64(n)
#endif
