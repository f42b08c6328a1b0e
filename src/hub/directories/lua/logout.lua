-- KEYS: instances, names, contracts. ARGV: id.
-- Answers 1 when the instance was there, else 0, or 'undecodable entry'.
local entry, unreadable = entry_of(ARGV[1])
if unreadable then
  return 'undecodable entry'
end
if not entry then
  return 0
end
remove(ARGV[1], entry)
return 1
