-- How many notes that this plan writes about {entity} look as if they held a password? The texts stay where they are.
SELECT count(*)
FROM sync.planned_{entity}
WHERE operation <> 'skip' AND regexp_matches(
          after_notes, '(?i)\b(password|passwd|passwort|passphrase|kennwort|pwd|pw|pin)\b\s*(is|ist|[:=])'
           || '|://[^\s/:@]+:[^\s/@]+@'
      )
