# Reads arrows.txt (variable table) and offers what the two checks ask. Needs POSIX awk only.

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
  may[name, name] = 1
  directory[name] = fields[3]
  library[name] = fields[4]
  order[++folders] = name
}

# "header PATTERN : NAMES" and "symbol PATTERN : NAMES"
function read_rule(line, left, right, fields, allowed, n) {
  left = line; sub(/ :.*/, "", left)
  right = line; sub(/^.* :/, "", right)
  split(left, fields, " ")
  n = ++rules
  rule_kind[n] = fields[1]
  rule_pattern[n] = fields[2]
  rule_names[n] = right
  split("", allowed)
  names_into(allowed, right)
  for (name in allowed) {
    if (!(name in directory)) complain(table ": rule " fields[2] " names " name ", which is no folder")
    rule_allows[n, name] = 1
  }
}

function table_read(line) {
  while ((getline line < table) > 0) {
    if (line ~ /^folder /) read_folder(line)
    else if (line ~ /^(header|symbol) /) read_rule(line)
    else if (line !~ /^(#|[ \t]*$)/) complain(table ": cannot read '" line "'")
  }
  close(table)
  if (folders == 0) complain(table ": no folders")
}

# The number of the rule of KIND that TEXT breaks when FOLDER uses it; 0 if none.
function rule_broken(kind, text, folder, n) {
  for (n = 1; n <= rules; n++)
    if (rule_kind[n] == kind && text ~ rule_pattern[n] && !((n, folder) in rule_allows)) return n
  return 0
}
