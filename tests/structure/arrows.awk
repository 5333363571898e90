# Reads src/arrows.txt (variable table) and offers what the check asks. Needs POSIX awk only.

function complain(text) {
  print text
  violations++
}

function names_into(list, line, i, n, parts) {
  n = split(line, parts, " ")
  for (i = 1; i <= n; i++)
    if (parts[i] != "") list[parts[i]] = 1
}

function read_folder(line, left, right, fields, allowed, name) {
  left = line; sub(/:.*/, "", left)
  right = line; sub(/^[^:]*:/, "", right)
  split(left, fields, " ")
  name = fields[2]
  split("", allowed)
  names_into(allowed, right)
  for (other in allowed) {
    if (!(other in directory)) complain(table ": folder " name " may not name " other ", which is not above it in the list")
    may[name, other] = 1
  }
  may[name, name] = used[name, name] = 1
  directory[name] = fields[3]
  order[++folders] = name
}

# "outside LIBRARY PATTERN : NAMES"; the library's name may hold "::".
function read_outside(line, left, right, fields, allowed, n) {
  left = line; sub(/ :( .*)?$/, "", left)
  right = line; sub(/^.* :/, "", right)
  split(left, fields, " ")
  n = ++outsides
  outside_pattern[n] = fields[3]
  outside_names[n] = right
  split("", allowed)
  names_into(allowed, right)
  for (name in allowed) {
    if (!(name in directory)) complain(table ": " fields[2] " names " name ", which is no folder")
    outside_allows[n, name] = 1
  }
}

function table_read(line) {
  while ((getline line < table) > 0) {
    if (line ~ /^folder /) read_folder(line)
    else if (line ~ /^outside /) read_outside(line)
    else if (line !~ /^(#|[ \t]*$)/) complain(table ": cannot read '" line "'")
  }
  close(table)
  if (folders == 0) complain(table ": no folders")
}

# The number of the outside library whose header TEXT is and that FOLDER may not use; 0 if none. Notes the use.
function outside_broken(text, folder, n) {
  for (n = 1; n <= outsides; n++) {
    if (text !~ outside_pattern[n]) continue
    if (!((n, folder) in outside_allows)) return n
    outside_used[n, folder] = 1
  }
  return 0
}

# Complains about what the list allows and nothing uses.
function unused_find(pair, parts) {
  for (pair in may) {
    split(pair, parts, SUBSEP)
    if (!(pair in used)) complain(table ": no file of " parts[1] " includes one of " parts[2] "; take the arrow out")
  }
  for (pair in outside_allows) {
    split(pair, parts, SUBSEP)
    if (!(pair in outside_used))
      complain(table ": no file of " parts[2] " includes " outside_pattern[parts[1]] "; take the name out")
  }
}
